"""Where the outbox is kept between runs.

Invariant: when `set_item` returns, the value survives the death of this process.
"""

import json
import os
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Strings by key, as the `localStorage` of browsers. The calls are short and do not await."""

    def get_item(self, key: str) -> str | None:
        """Return the value of a key, None if there is none."""

    def set_item(self, key: str, value: str) -> None:
        """Store a value."""

    def remove_item(self, key: str) -> None:
        """Remove a key, if it is there."""


class MemoryStorage:
    """Keeps values as long as the process lives."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def get_item(self, key: str) -> str | None:
        """Return the value of a key, None if there is none."""
        return self._values.get(key)

    def set_item(self, key: str, value: str) -> None:
        """Store a value."""
        self._values[key] = value

    def remove_item(self, key: str) -> None:
        """Remove a key, if it is there."""
        self._values.pop(key, None)


class FileStorage:
    """Keeps values in a JSON file, which is replaced as a whole. One process uses a file at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._values = self._read()

    def get_item(self, key: str) -> str | None:
        """Return the value of a key, None if there is none."""
        return self._values.get(key)

    def set_item(self, key: str, value: str) -> None:
        """Store a value.

        Raises:
            OSError: the file cannot be written.
        """
        self._write({**self._values, key: value})

    def remove_item(self, key: str) -> None:
        """Remove a key, if it is there.

        Raises:
            OSError: the file cannot be written.
        """
        if key in self._values:
            self._write({name: value for name, value in self._values.items() if name != key})

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise ValueError(f"{self._path} is not a file of this client")
        return found

    def _write(self, values: dict[str, str]) -> None:
        draft = self._path.with_name(self._path.name + ".new")
        with open(draft, "w", encoding="utf-8", opener=_private) as file:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        self._values = values


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner can read, since it has messages."""
    return os.open(path, flags, 0o600)
