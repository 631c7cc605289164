"""The program under test: where it is, and its command lines.

What must hold: nothing else of the comparisons writes a command line of packstone.
"""
import os

from .process import Failed, Step

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def find(given):
    """The program: the one that is named, or the one that `cargo build --release` makes."""
    path = os.path.abspath(given or os.path.join(ROOT, "target", "release", "packstone"))
    if not os.access(path, os.X_OK):
        raise Failed("%s is not there: cargo build --release makes it, --packstone FILE names another" % path)
    return path


class Packstone:
    """Command lines for one repository, opened by a key file, with a cache of its own."""

    def __init__(self, program, repository, cache, key_file):
        self.program = program
        self.repository = repository
        self.cache = cache
        self.key_file = key_file

    def step(self, *arguments, **where):
        """Any command."""
        head = [self.program, "-q", "-r", self.repository, "--key-file", self.key_file, "--cache-dir", self.cache]
        return Step([*head, *arguments], **where)

    def init(self, *options):
        """Makes the key, if there is none, and the repository."""
        if not os.path.exists(self.key_file):
            with open(os.open(self.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(os.urandom(32))
        return self.step("repo", "init", *options)

    def backup(self, source, *options):
        """A snapshot of a folder."""
        return self.step("backup", *options, source)

    def backup_stream(self, name, stream, *options):
        """A snapshot of a stream as one file."""
        return self.step("backup", "--stdin", "--stdin-filename", name, *options, stdin=stream)

    def restore(self, source, target):
        """What was in the folder, right below the target."""
        return self.step("restore", "latest:%s/" % source, "-t", target)

    def restore_stream(self, name, target):
        """The one file of a stream."""
        return self.step("restore", "latest:/", "-t", target)

    def one_file(self, path, target):
        """One file, by its full path."""
        return self.step("cat", "latest:" + path, stdout=target)

    def list(self):
        """Every path of the newest snapshot."""
        return self.step("ls", "latest")

    def check(self):
        """What is missing or cut short."""
        return self.step("repo", "check")

    def check_data(self):
        """Every byte."""
        return self.step("repo", "check", "--read-data")

    def forget(self):
        """All but the newest snapshot."""
        return self.step("forget", "--group-by", "", "--keep-last", "1")

    def prune(self):
        """What no snapshot needs."""
        return self.step("repo", "prune", "--yes")
