"""A PostgreSQL of its own, and days of its life, which are the same whenever they are lived but for the times that pgbench
writes.

What must hold: it knows no network, and nothing of it is left.
"""
import glob
import os
import shutil
import subprocess
import tempfile

from . import trees
from .process import Failed


def _programs():
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    newest = max(found, key=lambda path: float(path.split("/")[4]), default=shutil.which("initdb"))
    if newest is None:
        return None
    folder = os.path.dirname(os.path.realpath(newest))
    return folder if os.access(os.path.join(folder, "pgbench"), os.X_OK) else None


def is_there():
    """Whether PostgreSQL with pgbench is installed, and can be run by this user."""
    return _programs() is not None and (os.geteuid() != 0 or shutil.which("runuser") is not None)


class Database:
    """A PostgreSQL server of its own, which knows no network and lets no time pass between commits."""

    def __init__(self):
        self.programs = _programs()
        # Below /tmp, because the path of a socket may not be long.
        self.folder = tempfile.mkdtemp(prefix="packstone-bench-", dir="/tmp")
        self.data = os.path.join(self.folder, "data")
        self.become = []
        if os.geteuid() == 0:
            # The server refuses to run as root.
            shutil.chown(self.folder, "postgres")
            self.become = ["runuser", "-u", "postgres", "--"]

    def make(self):
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")

    def _run(self, program, *arguments, stdin=None, stdout=subprocess.DEVNULL):
        command = self.become + [os.path.join(self.programs, program), *arguments]
        where = dict(os.environ, PGHOST=self.folder, PGUSER="postgres", TZ="UTC", PGTZ="UTC")
        done = subprocess.run(
            command, input=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=self.folder, env=where, text=stdin is not None
        )
        if done.returncode != 0:
            said = done.stderr if stdin is not None else done.stderr.decode(errors="replace")
            raise Failed("%s: %s" % (program, said[-500:].strip()))

    def start(self):
        settings = "-c listen_addresses='' -c unix_socket_directories=%s -c fsync=off -c autovacuum=off" % self.folder
        self._run("pg_ctl", "-D", self.data, "-l", os.path.join(self.folder, "log"), "-w", "start", "-o", settings)

    def stop(self):
        self._run("pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop")

    def bench(self, *arguments):
        self._run("pgbench", *arguments, "postgres")

    def sql(self, text):
        self._run("psql", "-q", "-v", "ON_ERROR_STOP=1", "postgres", stdin=text)

    def dump(self, path, *options, then=None):
        """Writes what pg_dump gives with these options to a file, or what a command makes of it."""
        if then is None:
            with open(path, "wb") as file:
                return self._run("pg_dump", *options, "postgres", stdout=file)
        whole = path + ".whole"
        self.dump(whole, *options)
        with open(whole, "rb") as given, open(path, "wb") as made:
            if subprocess.run(then, stdin=given, stdout=made).returncode != 0:
                raise Failed("%s failed" % then[0])
        os.remove(whole)

    def remove(self):
        if os.path.exists(os.path.join(self.data, "postmaster.pid")):
            self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")
        trees.remove(self.folder)


EVENTS = """
INSERT INTO events
SELECT n, timestamp '2026-01-01' + n * interval '7 seconds',
       jsonb_build_object('user', n * 7919 %% 50021, 'action', (ARRAY['view','buy','search','login'])[(1 + n %% 4)::int],
                          'token', md5(n::text), 'price', n * 31 %% 10007, 'path', '/shop/' || n * 17 %% 4001)
FROM generate_series(%d::bigint, %d::bigint) AS n;
"""


def days(scale, keep, seed):
    """A database of 15 branches of pgbench and 500,000 events at scale 1, and what happens to it day after day:
    transactions, and new events. `keep` is called with the running server and the number of the day, of which it says by
    `days` how many there are."""
    branches, events = max(1, int(15 * scale)), max(500, int(500_000 * scale))
    server = Database()
    try:
        server.make()
        server.start()
        server.bench("-i", "-q", "-s", str(branches))
        server.sql("CREATE TABLE events (id bigint PRIMARY KEY, happened timestamp, what jsonb);" + EVENTS % (1, events))
        server.sql("VACUUM FREEZE;")
        for day in range(1, keep.days + 1):
            if day > 1:
                transactions = max(20, int(5000 * scale))
                server.bench("-n", "-c", "1", "-t", str(transactions), "--random-seed=%d" % (seed + day), "-b", "tpcb-like")
                last = events + (day - 1) * events // 50
                server.sql(EVENTS % (last - events // 50 + 1, last))
                server.sql("VACUUM;")
            keep(server, day)
        server.stop()
    finally:
        server.remove()
