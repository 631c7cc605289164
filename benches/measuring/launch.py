"""Runs one program and writes down what it cost, as one line of JSON in the file that the first argument names.

What must hold: this process stays small, since Linux counts the memory of who starts a program as the program's own until
it has more; hence no import that is not needed. What a pipeline's parts take is summed for the processor, while the memory
is that of the largest part.
"""
import os
import signal
import sys
import time


def main():
    report, timeout_seconds, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    since = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ, setpgroup=0)

    def stop(_signal, _frame):
        os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(timeout_seconds)
    try:
        _, status, usage = os.wait4(child, 0)
    except BaseException:
        # Whoever interrupts this does not reach a group of its own.
        os.killpg(child, signal.SIGKILL)
        raise
    wall = time.monotonic() - since
    signal.alarm(0)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    with open(report, "w") as file:
        file.write(
            '{"code": %d, "seconds": %.6f, "cpu_seconds": %.6f, "memory_kib": %d}\n'
            % (code, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
        )


main()
