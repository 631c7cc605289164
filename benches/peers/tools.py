"""The tools that are compared: their command lines, and what one must know of each to be fair.

What must hold: every tool encrypts (but for tar, which is never called the best), compresses by zstd where it can, keeps its
caches in a folder of the run, and restores all metadata that it can. A method gives the steps of one operation; a tool that
lacks an operation gives nothing.
"""
import os
import re
import shutil

from measuring.process import Step, pipeline
from measuring.program import Packstone as CommandLines

ALL = ["packstone", "restic", "rustic", "borg", "bupstash", "tar"]
PASSWORD = "the password of a benchmark"
STREAM = "dump.sql"


class Tool:
    """What all have: a repository, a cache, a folder for notes."""

    name = ""
    # Deduplicates and encrypts, hence may be called the best.
    is_peer = True
    install = ""

    def __init__(self, folder, program):
        self.repository = os.path.join(folder, "repository")
        self.cache = os.path.join(folder, "cache")
        self.notes = os.path.join(folder, "notes")
        self.program = program
        self.snapshots = 0

    @property
    def state(self):
        """What is put back when an operation is to be repeated from the same beginning."""
        return [self.repository, self.cache, self.notes]

    def environment(self):
        return {}

    def version(self, runner):
        return runner.output([self.program, "--version"])

    def step(self, *arguments, **where):
        return Step([self.program, *arguments], environment=self.environment(), **where)

    def next_name(self):
        """Of a snapshot, where the tool wants one."""
        self.snapshots += 1
        return "snapshot-%03d" % self.snapshots

    def last_name(self):
        return "snapshot-%03d" % self.snapshots

    def check(self):
        return []

    def check_data(self):
        return []


class Packstone(Tool):
    name = "packstone"
    is_peer = False
    install = "cargo build --release"

    def __init__(self, folder, program):
        super().__init__(folder, program)
        key_file = os.path.join(folder, "key")
        self.lines = CommandLines(program, self.repository, self.cache, key_file)

    def init(self):
        return [self.lines.init()]

    def backup(self, source):
        return [self.lines.backup(source)]

    def backup_stream(self, stream):
        return [self.lines.backup_stream(STREAM, stream)]

    def restore(self, source, target):
        return [self.lines.restore(source, target)]

    def restore_stream(self, target):
        return [self.lines.restore_stream(STREAM, target)]

    def one_file(self, source, path, target):
        return [self.lines.one_file(os.path.join(source, path), target)]

    def list(self):
        return [self.lines.list()]

    def check(self):
        return [self.lines.check()]

    def check_data(self):
        return [self.lines.check_data()]

    def prune(self):
        return [self.lines.forget(), self.lines.prune()]


class Restic(Tool):
    name = "restic"
    install = "apt-get install restic, or a release from restic.net"

    def environment(self):
        return {"RESTIC_REPOSITORY": self.repository, "RESTIC_PASSWORD": PASSWORD, "RESTIC_CACHE_DIR": self.cache}

    def version(self, runner):
        return runner.output([self.program, "version"])

    def init(self):
        return [self.step("-q", "init")]

    def backup(self, source):
        return [self.step("-q", "backup", ".", folder=source)]

    def backup_stream(self, stream):
        return [self.step("-q", "backup", "--stdin", "--stdin-filename", STREAM, stdin=stream)]

    def restore(self, source, target):
        return [self.step("-q", "restore", "latest", "--target", target)]

    def restore_stream(self, target):
        return self.restore(None, target)

    def one_file(self, source, path, target):
        return [self.step("-q", "dump", "latest", "/" + path, stdout=target)]

    def list(self):
        return [self.step("-q", "ls", "latest")]

    def check(self):
        return [self.step("-q", "check")]

    def check_data(self):
        return [self.step("-q", "check", "--read-data")]

    def prune(self):
        return [self.step("-q", "forget", "--group-by", "", "--keep-last", "1", "--prune")]


class Rustic(Tool):
    name = "rustic"
    install = "cargo install rustic-rs --locked"

    def environment(self):
        return {
            "RUSTIC_REPOSITORY": self.repository,
            "RUSTIC_PASSWORD": PASSWORD,
            "RUSTIC_CACHE_DIR": self.cache,
            "RUSTIC_NO_PROGRESS": "true",
            "RUSTIC_LOG_LEVEL": "warn",
        }

    def init(self):
        return [self.step("init")]

    def backup(self, source):
        return [self.step("backup", "--as-path", "/", ".", folder=source)]

    def backup_stream(self, stream):
        # Without --force, 0.11.4 takes a second stream of one name for unchanged, and stores nothing of it.
        return [self.step("backup", "--force", "--stdin-filename", STREAM, "-", stdin=stream)]

    def restore(self, source, target):
        return [self.step("restore", "latest", target)]

    def restore_stream(self, target):
        return self.restore(None, target)

    def one_file(self, source, path, target):
        return [self.step("dump", "latest:/" + path, stdout=target)]

    def list(self):
        return [self.step("ls", "latest")]

    def check(self):
        return [self.step("check")]

    def check_data(self):
        return [self.step("check", "--read-data")]

    def prune(self):
        # Without --instant-delete the space comes back a day later.
        return [self.step("forget", "--group-by", "", "--keep-last", "1"), self.step("prune", "--instant-delete")]


class Borg(Tool):
    name = "borg"
    install = "pip install borgbackup, or apt-get install borgbackup"

    def environment(self):
        return {
            "BORG_REPO": self.repository,
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": self.cache,
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def init(self):
        return [self.step("init", "-e", "repokey-blake2")]

    def backup(self, source):
        return [self.step("create", "-C", "zstd,3", "::" + self.next_name(), ".", folder=source)]

    def backup_stream(self, stream):
        return [self.step("create", "-C", "zstd,3", "--stdin-name", STREAM, "::" + self.next_name(), "-", stdin=stream)]

    def restore(self, source, target):
        return [self.step("extract", "--numeric-ids", "::" + self.last_name(), folder=target)]

    def restore_stream(self, target):
        return self.restore(None, target)

    def one_file(self, source, path, target):
        return [self.step("extract", "--stdout", "::" + self.last_name(), path, stdout=target)]

    def list(self):
        return [self.step("list", "--short", "::" + self.last_name())]

    def check(self):
        return [self.step("check")]

    def check_data(self):
        return [self.step("check", "--verify-data")]

    def prune(self):
        return [self.step("prune", "--keep-last", "1"), self.step("compact")]


class Bupstash(Tool):
    name = "bupstash"
    install = "cargo install bupstash --locked (needs libsodium-dev)"

    def environment(self):
        inside = lambda name: os.path.join(self.cache, name)
        return {
            "BUPSTASH_REPOSITORY": self.repository,
            "BUPSTASH_KEY": os.path.join(self.notes, "key"),
            "BUPSTASH_QUERY_CACHE": inside("queries"),
            "BUPSTASH_SEND_LOG": inside("sent"),
        }

    def version(self, runner):
        return runner.output([self.program, "version"])

    def init(self):
        return [self.step("new-key", "-o", os.path.join(self.notes, "key")), self.step("init")]

    def backup(self, source):
        return [self.step("put", "-q", "--no-default-tags", "name=" + self.next_name(), source)]

    def backup_stream(self, stream):
        return [self.step("put", "-q", "--no-default-tags", "name=" + self.next_name(), "-", stdin=stream)]

    def _last(self):
        return "name=" + self.last_name()

    def restore(self, source, target):
        # Ownership and extended attributes come back only on demand.
        return [self.step("restore", "-q", "--ownership", "--xattrs", "--into", target, self._last())]

    def restore_stream(self, target):
        return [self.step("get", "-q", self._last(), stdout=os.path.join(target, STREAM))]

    def one_file(self, source, path, target):
        return [self.step("get", "-q", "--pick", path, self._last(), stdout=target)]

    def list(self):
        return [self.step("list-contents", "-q", self._last())]

    def prune(self):
        # One after the other: 0.12 fails when several are removed by one call.
        earlier = ["name=snapshot-%03d" % number for number in range(1, self.snapshots)]
        return [self.step("rm", "-q", name) for name in earlier] + [self.step("gc", "-q")]


class Tar(Tool):
    """A pipe, as scripts have it: no encryption, and every day whole."""

    name = "tar"
    is_peer = False
    install = "apt-get install tar zstd"

    def version(self, runner):
        zstd = re.search(r"v[0-9.]+", runner.output(["zstd", "--version"]) or "")
        tar = super().version(runner)
        return "%s, zstd %s at level 3" % (tar.splitlines()[0], zstd.group()) if tar and zstd else None

    def init(self):
        return []

    def _archive(self):
        return os.path.join(self.repository, self.last_name() + ".zst")

    def backup(self, source):
        self.next_name()
        text = 'mkdir -p "$1" && tar -C "$2" --format=posix -cf - . | zstd -q -3 > "$3"'
        return [pipeline(text, self.repository, source, self._archive())]

    def backup_stream(self, stream):
        self.next_name()
        return [pipeline('mkdir -p "$1" && zstd -q -3 > "$2"', self.repository, self._archive(), stdin=stream)]

    def restore(self, source, target):
        return [pipeline('zstd -dqc "$1" | tar -C "$2" -xpf -', self._archive(), target)]

    def restore_stream(self, target):
        return [pipeline('zstd -dqc "$1" > "$2"', self._archive(), os.path.join(target, STREAM))]

    def one_file(self, source, path, target):
        return [pipeline('zstd -dqc "$1" | tar -xOf - "./$2"', self._archive(), path, stdout=target)]

    def list(self):
        return [pipeline('zstd -dqc "$1" | tar -tf -', self._archive())]

    def check_data(self):
        return [pipeline('zstd -tq "$1"/*.zst', self.repository)]

    def prune(self):
        return [pipeline('find "$1" -name "*.zst" ! -name "$2" -delete', self.repository, os.path.basename(self._archive()))]


KINDS = {kind.name: kind for kind in (Packstone, Restic, Rustic, Borg, Bupstash, Tar)}


def find(name):
    """The program of a tool, if it is installed."""
    return shutil.which(name)
