"""Builds what the benchmark needs besides the project: two C programs, and the peers' packages from their registries.

Everything is built once, in a folder that Git ignores; a changed source or pinned version causes a new build.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent.parent
ROOT = HERE.parent
CACHE = ROOT / ".cache" / "bench"
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")

NODE_PACKAGES = {"ws": "8.23.0", "socket.io": "4.8.4", "@socket.io/redis-adapter": "8.3.0", "redis": "6.3.1"}
PYTHON_PACKAGES = {
    "broadcaster": "0.3.1",
    "httptools": "0.9.0",
    "python-socketio": "5.18.1",
    "starlette": "1.10.0",
    "uvicorn": "0.54.0",
    "uvloop": "0.23.0",
    "websockets": "17.4",
}


class CannotBuild(Exception):
    """A program or package that a server or the generator needs is not available; the message is one sentence."""


def generator() -> Path:
    """Return the load generator; build it if necessary."""
    return _compiled("load", HERE / "load")


def limit() -> Path:
    """Return the C limit, the fastest possible server; build it if necessary."""
    return _compiled("limit", HERE / "peers" / "limit")


def node_modules() -> Path:
    """Return the folder with the packages of the peers in Node; install them if necessary."""
    place = CACHE / "node"
    wanted = [f"{name}@{version}" for name, version in NODE_PACKAGES.items()]
    quietly = ("--no-save", "--no-audit", "--no-fund", "--silent")
    with _locked():
        if not _is_installed(place, wanted):
            _run("npm", "install", "--prefix", str(place), *quietly, *wanted)
            _record_installed(place, wanted)
    return place


def python() -> Path:
    """Return the interpreter of the peers in Python; install it and their packages if necessary."""
    place = CACHE / "python"
    wanted = [f"{name}=={version}" for name, version in PYTHON_PACKAGES.items()]
    program = place / "bin" / "python"
    with _locked():
        if not _is_installed(place, wanted):
            venv.create(place, with_pip=True, clear=True)
            _run(str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
            _record_installed(place, wanted)
    return program


def _compiled(name: str, place: Path) -> Path:
    sources = sorted(place.glob("*.c"))
    text = (
        b"".join(path.read_bytes() for path in (*sources, *sorted(place.glob("*.h"))))
        + " ".join(FLAGS).encode()
    )
    program = CACHE / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}"
    with _locked():
        if not program.exists():
            draft = program.with_suffix(".new")
            _run("cc", *FLAGS, "-o", str(draft), *map(str, sources), "-lm")
            draft.rename(program)
    return program


@contextmanager
def _locked() -> Iterator[None]:
    """Exclude other processes: tests run in several."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_installed(place: Path, wanted: list[str]) -> bool:
    """Return whether a folder holds these packages; if not, empty it."""
    mark = place / "made.json"
    if mark.exists() and json.loads(mark.read_text()) == wanted:
        return True
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return False


def _record_installed(place: Path, wanted: list[str]) -> None:
    (place / "made.json").write_text(json.dumps(wanted))


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        raise CannotBuild(f"`{command[0]}` is needed and not installed.")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"`{command[0]}` failed: {(done.stderr or done.stdout).strip()[-2000:]}")
