"""Checkers of the deployment files: pinned programs from Python wheels, in a separate environment.

They are large and nothing else needs them, so they are not in the development extra.
"""

import fcntl
import subprocess
import sys
from pathlib import Path

from tests.support.environment import ROOT

LOCK = ROOT / "tests" / "deploy" / "tools.lock"
HOME = ROOT / ".cache" / "deploy-tools"


def tool(name: str) -> Path:
    """Return the path of a tool. All are installed on first use, and again when their lock file has changed."""
    HOME.parent.mkdir(exist_ok=True)
    with HOME.with_suffix(".busy").open("w") as busy:  # tests run side by side
        fcntl.flock(busy, fcntl.LOCK_EX)
        _install()
    return HOME / "bin" / name


def _install() -> None:
    mark = HOME / "lock"
    if not mark.exists() or mark.read_text() != LOCK.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", HOME], check=True)
        pip: list[str | Path] = [HOME / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--only-binary", ":all:", "--require-hashes", "-r", LOCK], check=True)
        mark.write_text(LOCK.read_text())


def checked(*words: str | Path, stdin: str = "") -> str:
    """Run a checker and return its output; fail if it found an error."""
    done = subprocess.run(
        words, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
