"""The messages that have no answer yet, kept in the storage of the application.

Invariant: a message is stored, with its ref, before it is sent for the first time, and removed only when the server has
answered it for good. A message that is sent again has the same ref, so it has one effect.
"""

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

from onrecord_client.storage import Storage

log = logging.getLogger("onrecord_client")

MAX_STORED = 256
"""Messages that wait at most."""

FORGOTTEN_S = 6 * 24 * 3600.0
"""Seconds after which a stored message is not sent any more: the server remembers refs for seven days."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message to be sent. `at` is when it was stored, in seconds since 1970."""

    ref: str
    room_id: str
    content: str
    at: float
    reply_to: int | None = None
    mentions: tuple[str, ...] | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of the command."""
        fields: dict[str, Any] = {"roomId": self.room_id, "content": self.content}
        if self.reply_to is not None:
            fields["replyTo"] = self.reply_to
        if self.mentions is not None:
            fields["mentions"] = [*self.mentions]
        return fields

    def is_forgotten(self, now: float) -> bool:
        """Return whether the server may have forgotten the ref."""
        return now - self.at > FORGOTTEN_S


class Outbox:
    """The stored messages of one user at one server, the oldest first."""

    def __init__(self, storage: Storage, url: str, user_id: str) -> None:
        self._storage = storage
        self._key = f"onrecord.outbox {url} {user_id}"
        self.entries: dict[str, Entry] = {entry.ref: entry for entry in self._load()}

    @property
    def is_full(self) -> bool:
        """Whether no more messages are accepted."""
        return len(self.entries) >= MAX_STORED

    def add(self, entry: Entry) -> None:
        """Store a message; raises what the storage raises, and then nothing was stored."""
        self._store({**self.entries, entry.ref: entry})

    def remove(self, ref: str) -> None:
        """Remove a message that was answered."""
        if ref in self.entries:
            self._store({key: entry for key, entry in self.entries.items() if key != ref})

    def _store(self, entries: dict[str, Entry]) -> None:
        if entries:
            self._storage.set_item(self._key, json.dumps([asdict(entry) for entry in entries.values()]))
        else:
            self._storage.remove_item(self._key)
        self.entries = entries

    def _load(self) -> list[Entry]:
        text = self._storage.get_item(self._key)
        try:
            return [_entry(fields) for fields in json.loads(text)] if text else []
        except (ValueError, TypeError, KeyError):
            log.exception("the stored outbox cannot be read and is left as it is under another key")
            self._storage.set_item(self._key + " unreadable", text or "")
            return []


def _entry(fields: dict[str, Any]) -> Entry:
    mentions = fields["mentions"]
    return Entry(**{**fields, "mentions": None if mentions is None else tuple(mentions)})
