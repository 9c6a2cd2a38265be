"""What the benchmark needs beside the project: two C programs, built here, and the peers from their registries.

Everything goes into an ignored folder and is made once; a change of a source or of a pinned version makes it anew.
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
    """Something that a server or the generator needs cannot be had here; the message is one sentence."""


def generator() -> Path:
    """Return the load generator, built."""
    return _compiled("load", HERE / "load")


def limit() -> Path:
    """Return the C limit, built."""
    return _compiled("limit", HERE / "peers" / "limit")


def node_modules() -> Path:
    """Return the folder of the peers in Node, installed."""
    place = CACHE / "node"
    wanted = [f"{name}@{version}" for name, version in NODE_PACKAGES.items()]
    quietly = ("--no-save", "--no-audit", "--no-fund", "--silent")
    with _alone():
        if not _is_made(place, wanted):
            _run("npm", "install", "--prefix", str(place), *quietly, *wanted)
            _made(place, wanted)
    return place


def python() -> Path:
    """Return the interpreter of the peers in Python, with their packages."""
    place = CACHE / "python"
    wanted = [f"{name}=={version}" for name, version in PYTHON_PACKAGES.items()]
    program = place / "bin" / "python"
    with _alone():
        if not _is_made(place, wanted):
            venv.create(place, with_pip=True, clear=True)
            _run(str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
            _made(place, wanted)
    return program


def _compiled(name: str, place: Path) -> Path:
    sources = sorted(place.glob("*.c"))
    text = (
        b"".join(path.read_bytes() for path in (*sources, *sorted(place.glob("*.h"))))
        + " ".join(FLAGS).encode()
    )
    program = CACHE / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}"
    with _alone():
        if not program.exists():
            draft = program.with_suffix(".new")
            _run("cc", *FLAGS, "-o", str(draft), *map(str, sources), "-lm")
            draft.rename(program)
    return program


@contextmanager
def _alone() -> Iterator[None]:
    """Nobody else makes anything here meanwhile: tests run in several processes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_made(place: Path, wanted: list[str]) -> bool:
    """Whether a folder holds these packages; if not, it is empty now."""
    mark = place / "made.json"
    if mark.exists() and json.loads(mark.read_text()) == wanted:
        return True
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return False


def _made(place: Path, wanted: list[str]) -> None:
    (place / "made.json").write_text(json.dumps(wanted))


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        raise CannotBuild(f"`{command[0]}` is needed and not installed.")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"`{command[0]}` failed: {(done.stderr or done.stdout).strip()[-2000:]}")
