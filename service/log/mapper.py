"""Between events and the bytes that the log stores.

A stored event is a JSON object of the event's fields. Each personal field is sealed (`service.log.keys`) and reads as
null once its key is gone. Neither the seq nor anything else of the envelope is in the bytes, so that the database can
number and time an event when it places it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from service.domain.events import EVENTS, ContentExpired, Event, KeyReplaced, PersonErased, Recorded
from service.log.keys import KeyRing, PersonKey, is_sealed

ROW = """
    e.stream, e.originator_version, e.notification_id, e.topic, e.subject, e.recorded_at, e.recorded_by,
    e.key_id, k.wrapped, e.state
"""
"""The columns that `Mapper.to_recorded` reads, of `readable_events e LEFT JOIN open_keys k USING (key_id)`.

`open_keys` has no key of a person who is erased, whatever the row of that key holds.
"""

ROWS = f"SELECT {ROW} FROM readable_events e LEFT JOIN open_keys k USING (key_id)"  # noqa: S608 - constants


DESTROYING = timedelta(minutes=10)
"""The longest that destroying keys and recording it, one transaction, may take."""


class Stored(NamedTuple):
    """An event as `chat_append` takes it."""

    topic: str
    subject: str
    state: bytes
    key_id: UUID | None


class Row(msgspec.Struct, frozen=True, array_like=True):
    """An event of a known stream as nodes tell each other of it: stored bytes, and no key."""

    seq: int
    position: int
    at: datetime
    by: str
    topic: str
    subject: str
    state: bytes
    key_id: UUID | None


class UnknownTopic(Exception):
    """The log holds an event that this version does not know: it was written by a newer one."""


class Mapper:
    """Translates both ways; the key ring opens what it has met."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    @property
    def keys(self) -> KeyRing:
        """The key ring."""
        return self._keys

    async def bury(self, events: Sequence[Recorded], database: Any) -> None:
        """Drop the keys that some events say are destroyed from memory, for good.

        Raises:
            Unavailable: the database cannot be reached.
        """
        erased = [recorded.event.user for recorded in events if isinstance(recorded.event, PersonErased)]
        if erased:
            await self._keys.bury(erased, database)
        expired = [one.at for one in events if isinstance(one.event, ContentExpired | KeyReplaced)]
        if expired:
            await self._keys.bury_expired(min(expired) - DESTROYING, database)

    def to_stored(self, event: Event, stream: str, key: PersonKey | None) -> Stored:
        """Return the stored form of an event; `key` is that of the person whose words it holds, if any.

        Raises:
            ValueError: the event holds words and there is no key.
        """
        fields: dict[str, Any] = msgspec.to_builtins(event)
        used = None
        for name in event.PERSONAL:
            if fields.get(name) is not None:
                if key is None:
                    message = f"{event.TOPIC} holds words of a person: it cannot be stored without a key"
                    raise ValueError(message)
                fields[name] = key.seal(fields[name], _context(stream, event.TOPIC, name))
                used = key.key_id
        return Stored(event.TOPIC, event.subject, msgspec.json.encode(fields), used)

    def to_recorded(self, row: Mapping[str, Any]) -> Recorded:
        """Return the event in a row with the columns of `ROW`.

        Raises:
            UnknownTopic: this version does not know it.
            cryptography.exceptions.InvalidTag: its words, or their key, were tampered with.
        """
        key_id, wrapped = row["key_id"], row["wrapped"]
        key = self._keys.unwrap(key_id, wrapped) if wrapped is not None else None
        event = self.to_event(row["topic"], row["state"], row["stream"], key)
        return Recorded(
            stream=row["stream"],
            seq=row["originator_version"],
            position=row["notification_id"],
            subject=row["subject"],
            at=row["recorded_at"],
            by=row["recorded_by"],
            event=event,
            erased=key_id is not None and key is None,
        )

    def reveal(self, row: Mapping[str, Any]) -> dict[str, tuple[bytes, str]]:
        """Return the salt and the words of each personal field; none where their key is gone.

        The row has `stream`, `topic`, `state`, `key_id` and `wrapped`. Whether this version knows the event does not
        matter.

        Raises:
            cryptography.exceptions.InvalidTag: its words, or their key, were tampered with.
        """
        if row["wrapped"] is None:
            return {}
        key = self._keys.unwrap(row["key_id"], row["wrapped"])
        fields: dict[str, Any] = msgspec.json.decode(row["state"])
        return {
            name: key.reveal(value, _context(row["stream"], row["topic"], name))
            for name, value in fields.items()
            if is_sealed(value)
        }

    def carried(self, row: Mapping[str, Any], key: PersonKey) -> dict[str, str]:
        """Return the ciphertext of each personal field of a row, its words sealed with another key than its own.

        Salts stay, and so commitments. The row has what `reveal` reads.

        Raises:
            cryptography.exceptions.InvalidTag: its words, or their key, were tampered with.
        """
        return {
            name: key.encrypt(salt, words, _context(row["stream"], row["topic"], name))
            for name, (salt, words) in self.reveal(row).items()
        }

    def are_same(self, row: Mapping[str, Any], key: PersonKey, sealed: Mapping[str, str]) -> bool:
        """Return whether what `carried` gave earlier for a row and a key is still that row's words.

        Raises:
            cryptography.exceptions.InvalidTag: the row's own words, or their key, were tampered with.
        """
        said, fields = self.reveal(row), msgspec.json.decode(row["state"])
        try:
            return said == {
                name: key.reveal({**fields[name], "c": c}, _context(row["stream"], row["topic"], name))
                for name, c in sealed.items()
            }
        except (InvalidTag, LookupError, TypeError, ValueError):
            return False

    def heard(self, stream: str, row: Row) -> Recorded | None:
        """Return the event in a row that another node told of, or None where its words need a key not met here yet.

        Raises:
            UnknownTopic, cryptography.exceptions.InvalidTag: see `to_recorded`.
        """
        key = self._keys.met(row.key_id) if row.key_id else None
        if row.key_id and key is None:
            return None
        event = self.to_event(row.topic, row.state, stream, key)
        return Recorded(stream, row.seq, row.position, row.subject, row.at, row.by, event)

    def to_event(self, topic: str, state: bytes, stream: str, key: PersonKey | None) -> Event:
        """Return the event in stored bytes; its words are None where there is no key.

        Raises:
            UnknownTopic: this version does not know it.
        """
        cls = EVENTS.get(topic)
        if cls is None:
            raise UnknownTopic(topic)
        fields: dict[str, Any] = msgspec.json.decode(state)
        for name in cls.PERSONAL:
            if fields.get(name) is not None:
                fields[name] = key.open(fields[name], _context(stream, topic, name)) if key else None
        return msgspec.convert(fields, cls)


def _context(stream: str, topic: str, field: str) -> str:
    return f"{stream}|{topic}|{field}"
