"""Runs a benchmark so that every process that it starts ends with it, also by Ctrl-C and by SIGKILL.

Two processes: the supervisor, whose number the user sees, and the measuring process, its child, in a session of its
own. Ctrl-C and SIGTERM reach only the supervisor, which asks the child to stop once; a second signal kills it.

Invariant: orphans are adopted by the supervisor or by the measuring process (`PR_SET_CHILD_SUBREAPER`), and each kills
what is left of its descendants when the measurement has ended. If the supervisor is killed, the kernel signals the
measuring process (`PR_SET_PDEATHSIG`), which stops in order.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import psutil

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
"""Options of prctl(2)."""

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervised(measure: Callable[[], int | None]) -> int:
    """Return the exit code of `measure`, which runs in a child process; call this before any thread is started."""
    _prctl(SET_CHILD_SUBREAPER, 1)
    supervisor = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until each process has its handlers
    child = os.fork()
    if child:
        return _supervise(child)
    os.setsid()
    _prctl(SET_CHILD_SUBREAPER, 1)
    _prctl(SET_PDEATHSIG, signal.SIGTERM)
    for number in STOPS:
        signal.signal(number, lambda *_: sys.exit(1))  # an orderly exit, which stops the servers too
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    try:
        if os.getppid() != supervisor:
            return 1  # it was killed before the call of prctl
        return measure() or 0
    finally:
        kill_descendants()


def kill_descendants() -> None:
    """Kill all descendants of this process and wait for them."""
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _supervise(child: int) -> int:
    """Wait for the measuring process and for adopted orphans; return its exit code."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL if stopping else signal.SIGTERM)
        stopping = True

    for number in STOPS:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            break
    kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")
