"""The package `onrecord-client`, made from `clients/js` as it is published, and projects that install it."""

import asyncio
import fcntl
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.environment import ROOT

SOURCE = ROOT / "clients" / "js"
MADE = ROOT / ".cache" / "onrecord-client"
LEFT_OUT = ("node_modules", "dist", ".test-build")
NPM = ("npm", "--silent", "--no-audit", "--no-fund")


@dataclass(frozen=True)
class Package:
    """A folder with the sources, their dependencies and `dist`, and the tarball that `npm pack` made there."""

    folder: Path
    tarball: Path
    entry: str = "index.js"
    """The module whose `OnRecord` is used."""

    @property
    def module(self) -> Path:
        """The path of that module."""
        return self.folder / "dist" / self.entry

    @property
    def websocket(self) -> Path:
        """The WebSocket class for Node 20, which has none."""
        return self.folder / "node_modules" / "ws" / "wrapper.mjs"


async def package() -> Package:
    """Return the package, which is made again if a source has changed."""
    return await asyncio.to_thread(made)


def made() -> Package:
    """Return the package, as `package` does."""
    folder = MADE / _fingerprint()
    MADE.mkdir(parents=True, exist_ok=True)
    with (MADE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of the workers of a run, the first one makes it
        if not (folder / "made").exists():
            _make(folder)
    return Package(folder, next(folder.glob("onrecord-client-*.tgz")))


def _make(folder: Path) -> None:
    earlier = [path for path in MADE.iterdir() if path.is_dir()]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns(*LEFT_OUT, "*.tgz"))
    for path in earlier:
        if path == folder:
            continue
        if (path / "made").exists() and not (folder / "node_modules").exists():
            (path / "node_modules").rename(folder / "node_modules")  # `npm install` brings it up to date
        shutil.rmtree(path)
    run(*NPM, "install", folder=folder)
    run(*NPM, "run", "build", folder=folder)
    run(*NPM, "pack", folder=folder)
    (folder / "made").touch()


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*")):
        inner = path.relative_to(SOURCE)
        if path.is_file() and inner.parts[0] not in LEFT_OUT and path.suffix != ".tgz":
            digest.update(f"{inner}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def run(*command: str, folder: Path) -> str:
    """Run a command in a folder; return what it prints.

    Raises:
        AssertionError: it failed; with what it printed.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def project(folder: Path, made: Package, *dependencies: str, **fields: Any) -> None:
    """Make an empty project in a folder, with the package and other dependencies installed."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"name": "empty", "private": True, "type": "module", **fields}
    (folder / "package.json").write_text(json.dumps(manifest))
    run(*NPM, "install", str(made.tarball), *dependencies, folder=folder)
