"""CPU and memory of the processes under test, as the kernel counts them."""

import sys
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

QUIET = 0.05
"""Share of one core below which a server counts as idle."""

TICK = 0.011
"""Seconds: the kernel counts CPU time in hundredths; one hundredth still counts as idle."""

KIB = 1024


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    """Return user and system time of a process and its children, including children that have ended."""
    total = 0.0
    for member in _family(process):
        with suppress(
            psutil.NoSuchProcess
        ):  # the times of an ended process are among `children_*` of its parent
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def rss_kib(process: psutil.Process) -> float:
    """Return the resident memory of a process and its children."""
    total = 0
    for member in _family(process):
        with suppress(psutil.NoSuchProcess):
            total += member.memory_info().rss
    return total / KIB


def all_cpu(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Return the CPU seconds of each part."""
    return {name: cpu_seconds(process) for name, process in processes.items()}


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the CPU seconds that each part used between two calls of `all_cpu`."""
    return {name: round(after[name] - before[name], 3) for name in after}


def settle(processes: Mapping[str, psutil.Process], most: float, look: float) -> bool:
    """Wait until every part is idle in two consecutive samples of `look` seconds; return False after `most` seconds."""
    until = time.monotonic() + most
    before: dict[str, float] = {}
    quiet = 0
    while time.monotonic() < until and quiet < 2:
        before = all_cpu(processes)
        time.sleep(look)
        busiest = max(spent(before, all_cpu(processes)).values())
        quiet = quiet + 1 if busiest <= max(QUIET * look, TICK) else 0
    if quiet < 2:
        print(
            f"  not at rest after {most:g} s: {spent(before, all_cpu(processes))}",
            file=sys.stderr,
            flush=True,
        )
    return quiet >= 2
