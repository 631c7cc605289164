"""Runs programs: what they cost, and what they said if they failed."""
import json
import mmap
import os
import statistics
import subprocess
import sys

LAUNCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
MIB = 1 << 20


class Failed(Exception):
    """A program that had to succeed did not."""


def say(*words):
    """Tells whoever waits how far it is; results alone go to the standard output."""
    print(*words, file=sys.stderr, flush=True)


class Step:
    """One program to run: its arguments, and where it stands."""

    def __init__(self, arguments, folder=None, stdin=None, stdout=None, environment=None):
        self.arguments = [os.fspath(argument) for argument in arguments]
        self.folder = folder
        self.stdin = stdin
        self.stdout = stdout
        self.environment = environment or {}


def pipeline(text, *values, **where):
    """A pipeline of the shell that fails if any part does; the values are $1, $2 and so on in it."""
    return Step(["bash", "-o", "pipefail", "-c", text, "bash", *values], **where)


class Runner:
    """Runs steps with a folder for what it must write down, and nothing of the caller's environment but the path."""

    def __init__(self, folder, environment, timeout_seconds=1800):
        self.folder = folder
        self.timeout_seconds = timeout_seconds
        self.environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}
        self.environment.update(environment)
        os.makedirs(folder, exist_ok=True)

    def run(self, step):
        """What a step cost. Raises `Failed` with the end of what it said."""
        report = os.path.join(self.folder, "report")
        errors = os.path.join(self.folder, "errors")
        launch = [sys.executable, "-I", "-S", LAUNCH, report, str(self.timeout_seconds)]
        with open(step.stdin or os.devnull, "rb") as stdin, open(step.stdout or os.devnull, "wb") as stdout, open(
            errors, "wb"
        ) as stderr:
            subprocess.run(
                launch + step.arguments,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=step.folder or self.folder,
                env={**self.environment, **step.environment},
            )
        try:
            with open(report) as file:
                cost = json.load(file)
            os.remove(report)
        except (OSError, ValueError):
            cost = {"code": 127}
        if cost["code"] != 0:
            with open(errors, errors="replace") as file:
                said = file.read()[-600:].strip()
            raise Failed("%s: exit code %d: %s" % (" ".join(step.arguments[:3]), cost["code"], said))
        return cost

    def output(self, arguments):
        """What a program prints, or nothing if it cannot be run."""
        try:
            done = subprocess.run(
                arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=self.environment
            )
        except OSError:
            return None
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def touch_memory(size_bytes):
    """Takes memory and gives it back, so that a virtual machine's host has given it before the clock runs: memory that
    the host must find first costs several times as much, and would be counted to whoever comes first."""
    with open("/proc/meminfo") as file:
        free_kib = next((int(line.split()[1]) for line in file if line.startswith("MemAvailable")), 0)
    # On a machine that is nearly full it would do harm.
    size_bytes = min(size_bytes, free_kib * 1024 // 4)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
    try:
        mmap.mmap(-1, max(size_bytes, MIB), flags=flags).close()
    except (OSError, ValueError):
        pass


def median_of(costs):
    """One cost of several of the same step: medians, but the most memory."""
    middle = lambda key: statistics.median(cost[key] for cost in costs)
    return {
        "seconds": round(middle("seconds"), 4),
        "cpu_seconds": round(middle("cpu_seconds"), 4),
        "memory_mib": round(max(cost["memory_kib"] for cost in costs) / 1024, 1),
        "runs": [round(cost["seconds"], 4) for cost in costs],
    }


def machine():
    """What the figures hold for."""
    name = "unknown processor"
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "%s, %d processors, %.1f GiB, Linux %s" % (
        name,
        len(os.sched_getaffinity(0)),
        memory / (1 << 30),
        os.uname().release,
    )
