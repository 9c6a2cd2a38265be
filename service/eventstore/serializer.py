"""Converts between events and the bytes stored in the log.

A stored event is a JSON object of the event's fields. Each personal field is sealed (`service.encryption.keyring`) and
reads as null once its key is destroyed. The bytes do not contain the seq, the time or any other field of the envelope,
because the database sets these when it appends the event.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from service.domain.events import (
    EVENTS,
    ContentExpired,
    Damage,
    Event,
    KeyReplaced,
    PersonErased,
    Recorded,
)
from service.domain.salvage import Envelope, salvaged
from service.encryption.keyring import KeyRing
from service.encryption.person_key import PersonKey, is_sealed
from service.eventstore.damage import Damaged, mismatch

ROW = """
    e.stream, e.originator_version, e.notification_id, e.topic, e.subject, e.recorded_at, e.recorded_by,
    e.key_id, k.wrapped, e.state
"""
"""The columns that `EventSerializer.to_recorded` reads, of `readable_events e LEFT JOIN open_keys k USING (key_id)`.

`open_keys` has no key of an erased person, even if the row of that key still holds one.
"""

ROWS = f"SELECT {ROW} FROM readable_events e LEFT JOIN open_keys k USING (key_id)"  # noqa: S608 - constants

DECODE_ERRORS = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
"""The errors that decoding a damaged state can raise."""

NOT_OPENED = "the words, or the key that they are sealed with, cannot be opened"

DESTROYING = timedelta(minutes=10)
"""Longest duration of the transaction that destroys keys and records it."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """The stored form of an event, as `chat_append` takes it."""

    topic: str
    subject: str
    state: bytes
    key_id: UUID | None


class PeerRow(msgspec.Struct, frozen=True, array_like=True):
    """An event as nodes send it to each other: its stored bytes, without its stream and its key."""

    seq: int
    position: int
    at: datetime
    by: str
    topic: str
    subject: str
    state: bytes
    key_id: UUID | None


class UnknownTopic(Exception):
    """This version does not know the topic of an event."""


class EventSerializer:
    """Converts in both directions; `damaged` has the events that could not be read."""

    def __init__(self, keys: KeyRing) -> None:
        self.keys = keys
        self.damaged = Damaged()

    async def evict_destroyed(self, events: Sequence[Recorded], database: Any) -> None:
        """Drop the keys that `events` record as destroyed from memory, for good.

        Raises:
            Unavailable: the database cannot be reached.
        """
        erased = [recorded.event.user for recorded in events if isinstance(recorded.event, PersonErased)]
        if erased:
            await self.keys.evict_destroyed(erased, database)
        expired = [
            recorded.at for recorded in events if isinstance(recorded.event, ContentExpired | KeyReplaced)
        ]
        if expired:
            await self.keys.evict_expired(min(expired) - DESTROYING, database)

    def to_stored(self, event: Event, stream: str, key: PersonKey | None) -> Stored:
        """Return the stored form of an event, its personal fields sealed with `key`.

        Raises:
            ValueError: the event holds personal fields and there is no key.
        """
        fields: dict[str, Any] = msgspec.to_builtins(event)
        used = None
        for name in event.PERSONAL:
            if fields.get(name) is not None:
                if key is None:
                    message = f"{event.TOPIC} has personal fields: it cannot be stored without a key"
                    raise ValueError(message)
                fields[name] = key.seal(fields[name], _context(stream, event.TOPIC, name))
                used = key.key_id
        return Stored(event.TOPIC, event.subject, msgspec.json.encode(fields), used)

    def read(self, row: Mapping[str, Any]) -> Recorded:
        """Return the event in a row with the columns of `ROW`; it has `damage` if it cannot be read completely.

        So a damaged event, or one that this version does not know, does not stop its reader.
        """
        try:
            recorded = self.to_recorded(row)
        except InvalidTag:
            recorded = self._without_personal_fields(row)
        except UnknownTopic:
            recorded = _salvaged(row, "topic", "this version does not know the topic")
        except DECODE_ERRORS as problem:
            recorded = _salvaged(row, "state", f"the state cannot be decoded: {problem}")
        if not recorded.undecoded and (reason := mismatch(recorded)) is not None:
            recorded = _salvaged(row, "state", reason)
        if recorded.damage is not None:
            self.damaged.note(recorded)
        return recorded

    def _without_personal_fields(self, row: Mapping[str, Any]) -> Recorded:
        try:
            recorded = self.to_recorded({**row, "wrapped": None})
        except UnknownTopic:
            return _salvaged(row, "topic", "this version does not know the topic")
        except DECODE_ERRORS as problem:
            return _salvaged(row, "state", f"the state cannot be decoded: {problem}")
        damage = Damage("words", row["topic"], NOT_OPENED)
        return msgspec.structs.replace(recorded, erased=False, damage=damage)

    def to_recorded(self, row: Mapping[str, Any]) -> Recorded:
        """Return the event in a row with the columns of `ROW`; fail if it cannot be read completely.

        Raises:
            UnknownTopic: this version does not know the topic.
            cryptography.exceptions.InvalidTag: a personal field, or its key, was tampered with.
            msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError: the state does not match the topic.
        """
        key_id, wrapped = row["key_id"], row["wrapped"]
        key = self.keys.unwrap(key_id, wrapped) if wrapped is not None else None
        event = self.to_event(row["topic"], row["state"], row["stream"], key)
        return _recorded(row, event, erased=key_id is not None and key is None)

    def reveal(self, row: Mapping[str, Any]) -> dict[str, tuple[bytes, str]]:
        """Return the salt and the text of each personal field, none if the key is destroyed.

        The row has `stream`, `topic`, `state`, `key_id` and `wrapped`. The topic may be unknown to this version.

        Raises:
            cryptography.exceptions.InvalidTag: a personal field, or its key, was tampered with.
        """
        if row["wrapped"] is None:
            return {}
        key = self.keys.unwrap(row["key_id"], row["wrapped"])
        fields = msgspec.json.decode(row["state"], type=dict[str, Any])
        return {
            name: key.reveal(value, _context(row["stream"], row["topic"], name))
            for name, value in fields.items()
            if is_sealed(value)
        }

    def try_reveal(self, row: Mapping[str, Any]) -> tuple[dict[str, tuple[bytes, str]] | None, str | None]:
        """Return the result of `reveal`, and the reason if it failed; the result is None if the state is damaged.

        The row also has `stored`, the bytes as recorded.
        """
        try:
            msgspec.json.decode(row["stored"], type=dict[str, Any])
            return self.reveal(row), None
        except InvalidTag:
            return {}, NOT_OPENED
        except DECODE_ERRORS as problem:
            return None, f"the state cannot be decoded: {problem}"

    def carried(self, row: Mapping[str, Any], key: PersonKey) -> dict[str, str]:
        """Return the ciphertext of each personal field of a row, encrypted with another key and the same salt.

        The row has the columns that `reveal` reads.

        Raises:
            cryptography.exceptions.InvalidTag: a personal field, or its key, was tampered with.
        """
        return {
            name: key.encrypt(salt, words, _context(row["stream"], row["topic"], name))
            for name, (salt, words) in self.reveal(row).items()
        }

    def is_carried(self, row: Mapping[str, Any], key: PersonKey, sealed: Mapping[str, str]) -> bool:
        """Return whether `sealed`, an earlier result of `carried` with this key, decrypts to the text of the row.

        Raises:
            cryptography.exceptions.InvalidTag: a personal field of the row, or its key, was tampered with.
        """
        revealed, fields = self.reveal(row), msgspec.json.decode(row["state"])
        try:
            return revealed == {
                name: key.reveal({**fields[name], "c": c}, _context(row["stream"], row["topic"], name))
                for name, c in sealed.items()
            }
        except (InvalidTag, LookupError, TypeError, ValueError):
            return False

    def from_peer_row(self, stream: str, row: PeerRow) -> Recorded | None:
        """Return the event in a row from another node, None if its key is not cached or it cannot be decoded."""
        key = self.keys.cached(row.key_id) if row.key_id else None
        if row.key_id and key is None:
            return None
        try:
            event = self.to_event(row.topic, row.state, stream, key)
        except (UnknownTopic, InvalidTag, *DECODE_ERRORS):
            return None
        return Recorded(stream, row.seq, row.position, row.subject, row.at, row.by, event)

    def to_event(self, topic: str, state: bytes, stream: str, key: PersonKey | None) -> Event:
        """Return the event in stored bytes; its personal fields are None without a key.

        Raises:
            UnknownTopic: this version does not know the topic.
            cryptography.exceptions.InvalidTag: a personal field was tampered with.
            msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError: the bytes do not match the topic.
        """
        cls = EVENTS.get(topic)
        if cls is None:
            raise UnknownTopic(topic)
        fields = msgspec.json.decode(state, type=dict[str, Any])
        for name in cls.PERSONAL:
            if fields.get(name) is not None:
                fields[name] = key.open(fields[name], _context(stream, topic, name)) if key else None
        return msgspec.convert(fields, cls)


def _salvaged(row: Mapping[str, Any], part: Literal["state", "topic"], reason: str) -> Recorded:
    envelope = Envelope(
        row["stream"], row["originator_version"], row["topic"], row["subject"], row["recorded_by"]
    )
    return _recorded(row, salvaged(envelope), damage=Damage(part, row["topic"], reason))


def _recorded(
    row: Mapping[str, Any], event: Event, *, erased: bool = False, damage: Damage | None = None
) -> Recorded:
    return Recorded(
        stream=row["stream"],
        seq=row["originator_version"],
        position=row["notification_id"],
        subject=row["subject"],
        at=row["recorded_at"],
        by=row["recorded_by"],
        event=event,
        erased=erased,
        damage=damage,
    )


def _context(stream: str, topic: str, field: str) -> str:
    return f"{stream}|{topic}|{field}"
