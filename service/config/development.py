"""The data directory of a development machine: its keys and the addresses of its servers.

`onrecord dev` creates the directory; commands that run at the same time read it. Secrets are in files that only their
owner can read. The errors of the embedded servers are here because only the development extra installs
`service.embedded`.
"""

import base64
import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

KEYS = "keys.json"
SERVERS = "servers.json"
READER = "onrecord_reader"
"""The login of analysts: it can read the views of the schema `analytics` and nothing else."""
ELSEWHERE = "If it runs elsewhere, set ONRECORD_DATA_DIR to the directory that `make run` printed."
"""Advice for a command that finds no `onrecord dev` in its data directory."""


class DataDirUnusable(Exception):
    """The data directory cannot be used; the message is one sentence."""


class EmbeddedFailed(Exception):
    """The embedded servers cannot run; the message is one sentence."""


class AlreadyRunning(EmbeddedFailed):
    """Another process uses this data directory."""


class ServerDidNotStart(EmbeddedFailed):
    """A server program ended or did not answer."""


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _new_password() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Keys:
    """The secrets of development, kept as long as the data that they protect.

    `owner_password` is the password of PostgreSQL's superuser, which was the owner in the first versions.
    """

    jwt_secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    key_encryption_key: str = field(default_factory=_new_key, repr=False)
    bus_key: str = field(default_factory=_new_key, repr=False)
    owner_password: str = field(default_factory=_new_password, repr=False)
    migrate_password: str = field(default_factory=_new_password, repr=False)
    app_password: str = field(default_factory=_new_password, repr=False)
    worker_password: str = field(default_factory=_new_password, repr=False)
    reader_password: str = field(default_factory=_new_password, repr=False)
    redis_password: str = field(default_factory=_new_password, repr=False)

    def settings(self) -> dict[str, Any]:
        """Return the keys that are settings, by field of `Settings`."""
        return {
            "jwt_secret": self.jwt_secret,
            "key_encryption_key": base64.b64decode(self.key_encryption_key),
            "bus_key": base64.b64decode(self.bus_key),
        }


def default_data_dir(uid: int, here: Path) -> Path:
    """Return the development data directory of the project in `here`, for the user `uid`.

    Postgres refuses to run as root, and the system user that runs it instead usually cannot reach root's directories.
    The directory of root is therefore under `/var/tmp`, one per project.
    """
    if uid != 0:
        return Path(".onrecord")
    digest = hashlib.sha256(os.fsencode(here.resolve())).hexdigest()
    return Path("/var/tmp") / f"onrecord-{digest[:8]}"  # noqa: S108 - prepare() refuses it unless it is ours


def as_root() -> bool:
    """Return whether root runs this process."""
    return os.geteuid() == 0


def prepare(data_dir: Path) -> Path:
    """Create the directory if it is missing, check that it is usable, and return it without symbolic links.

    Raises:
        DataDirUnusable: it cannot be created or written, or belongs to another user.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        message = f"The data directory {data_dir} cannot be created: {problem.strerror}."
        raise DataDirUnusable(message) from problem
    # The owner of a link counts too: under /var/tmp any user could place a link to another directory.
    advice = "choose another with ONRECORD_DATA_DIR"
    if {data_dir.stat().st_uid, data_dir.lstat().st_uid} != {os.geteuid()}:
        raise DataDirUnusable(f"The data directory {data_dir} belongs to another user; {advice}.")
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise DataDirUnusable(f"The data directory {data_dir} cannot be written; {advice}.")
    return data_dir.resolve()


def keys(data_dir: Path) -> Keys:
    """Return the keys of this directory, generated on first use."""
    content = _read(data_dir / KEYS) or {}
    found = Keys(**content)
    if asdict(found) != content:  # none yet, or written by a version that needed fewer
        _write(data_dir / KEYS, asdict(found))
    return found


def known_keys(data_dir: Path) -> Keys | None:
    """Return the keys of this directory, if it has any."""
    content = _read(data_dir / KEYS)
    return None if content is None else Keys(**content)


def announce(data_dir: Path, addresses: dict[str, str]) -> None:
    """Publish the addresses of the servers, by field of `Settings`, to commands that use this directory."""
    _write(data_dir / SERVERS, addresses)


def analytics_url(data_dir: Path) -> str | None:
    """Return the address of the database, as the login of analysts; None if no `onrecord dev` runs here."""
    addresses, found = _read(data_dir / SERVERS), known_keys(data_dir)
    if addresses is None or found is None:
        return None
    server = addresses["database_url"].rpartition("@")[2]
    return f"postgresql://{READER}:{found.reader_password}@{server}"


def withdraw(data_dir: Path) -> None:
    """Remove the addresses."""
    (data_dir / SERVERS).unlink(missing_ok=True)


def known_settings(data_dir: Path) -> dict[str, Any]:
    """Return the servers and keys of the `onrecord dev` that runs in this directory; empty if none does.

    Without servers no keys are returned, so that no command uses a development key by accident.
    """
    addresses, found = _read(data_dir / SERVERS), known_keys(data_dir)
    return {} if addresses is None or found is None else {**addresses, **found.settings()}


def _read(path: Path) -> dict[str, str] | None:
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as problem:
        raise DataDirUnusable(f"{path} cannot be read: {problem}.") from problem
    if not isinstance(content, dict):
        raise DataDirUnusable(f"{path} was not written by `onrecord dev`.")
    return content


def _write(path: Path, content: dict[str, str]) -> None:
    """Write a file atomically, readable by its owner only."""
    draft = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - a mode
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
