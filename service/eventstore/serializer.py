"""Between events and the bytes that the log stores.

A stored event is a JSON object of the event's fields. Each personal field is sealed (`service.encryption.keyring`) and
reads as null once its key is gone. Neither the seq nor anything else of the envelope is in the bytes, so that the
database can number and time an event when it places it.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from service.domain.events import (
    EVENTS,
    ContentExpired,
    Damage,
    Event,
    KeyReplaced,
    MessagePosted,
    PersonErased,
    Recorded,
)
from service.domain.salvage import Envelope, belongs, salvaged
from service.domain.streams import message_subject
from service.encryption.keyring import KeyRing, PersonKey, is_sealed

ROW = """
    e.stream, e.originator_version, e.notification_id, e.topic, e.subject, e.recorded_at, e.recorded_by,
    e.key_id, k.wrapped, e.state
"""
"""The columns that `EventSerializer.to_recorded` reads, of `readable_events e LEFT JOIN open_keys k USING (key_id)`.

`open_keys` has no key of a person who is erased, whatever the row of that key holds.
"""

ROWS = f"SELECT {ROW} FROM readable_events e LEFT JOIN open_keys k USING (key_id)"  # noqa: S608 - constants


NOT_DECODED = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
"""What decoding a damaged state raises."""

LARGEST = 2**63 - 1
"""The largest number that a column holds."""

SEALED_SHUT = "the words, or the key that they are sealed with, cannot be opened"

REMEMBERED = 100_000
"""Unreadable positions that are remembered, so that each is logged once; the earliest goes first."""

DESTROYING = timedelta(minutes=10)
"""The longest that destroying keys and recording it, one transaction, may take."""


log = logging.getLogger("onrecord.log")


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


class EventSerializer:
    """Translates both ways; the key ring opens what it has met. `damaged` has met what cannot be read."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self.damaged = Damaged()

    @property
    def keys(self) -> KeyRing:
        """The key ring."""
        return self._keys

    async def evict_destroyed(self, events: Sequence[Recorded], database: Any) -> None:
        """Drop the keys that some events say are destroyed from memory, for good.

        Raises:
            Unavailable: the database cannot be reached.
        """
        erased = [recorded.event.user for recorded in events if isinstance(recorded.event, PersonErased)]
        if erased:
            await self._keys.evict_destroyed(erased, database)
        expired = [one.at for one in events if isinstance(one.event, ContentExpired | KeyReplaced)]
        if expired:
            await self._keys.evict_expired(min(expired) - DESTROYING, database)

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

    def read(self, row: Mapping[str, Any]) -> Recorded:
        """Return the event in a row with the columns of `ROW`, as far as it can be read.

        What is damaged, or unknown to this version, has `damage`: the rest of the log is read on. Each position is
        logged and counted once.
        """
        try:
            recorded = self.to_recorded(row)
        except InvalidTag:
            recorded = self._without_words(row)
        except UnknownTopic:
            recorded = _salvaged(row, "topic", "this version does not know the topic")
        except NOT_DECODED as problem:
            recorded = _salvaged(row, "state", f"the state cannot be decoded: {problem}")
        if not recorded.undecoded and (wrong := misfit(recorded)) is not None:
            recorded = _salvaged(row, "state", wrong)
        if recorded.damage is not None:
            self.damaged.note(recorded)
        return recorded

    def _without_words(self, row: Mapping[str, Any]) -> Recorded:
        try:
            recorded = self.to_recorded({**row, "wrapped": None})
        except UnknownTopic:
            return _salvaged(row, "topic", "this version does not know the topic")
        except NOT_DECODED as problem:
            return _salvaged(row, "state", f"the state cannot be decoded: {problem}")
        damage = Damage("words", row["topic"], SEALED_SHUT)
        return msgspec.structs.replace(recorded, erased=False, damage=damage)

    def to_recorded(self, row: Mapping[str, Any]) -> Recorded:
        """Return the event in a row with the columns of `ROW`, whole.

        Raises:
            UnknownTopic: this version does not know it.
            cryptography.exceptions.InvalidTag: its words, or their key, were tampered with.
            msgspec.MsgspecError, ValueError, RecursionError: its state is not what an event of its kind has.
        """
        key_id, wrapped = row["key_id"], row["wrapped"]
        key = self._keys.unwrap(key_id, wrapped) if wrapped is not None else None
        event = self.to_event(row["topic"], row["state"], row["stream"], key)
        return _recorded(row, event, erased=key_id is not None and key is None)

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
        fields = msgspec.json.decode(row["state"], type=dict[str, Any])
        return {
            name: key.reveal(value, _context(row["stream"], row["topic"], name))
            for name, value in fields.items()
            if is_sealed(value)
        }

    def revealed(self, row: Mapping[str, Any]) -> tuple[dict[str, tuple[bytes, str]] | None, str | None]:
        """Return what `reveal` does, and why it cannot, if so; instead of words None where the state is no JSON object.

        The row has `stored` too, the bytes as they were recorded.
        """
        try:
            msgspec.json.decode(row["stored"], type=dict[str, Any])
            return self.reveal(row), None
        except InvalidTag:
            return {}, SEALED_SHUT
        except NOT_DECODED as problem:
            return None, f"the state cannot be decoded: {problem}"

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

    def from_peer_row(self, stream: str, row: Row) -> Recorded | None:
        """Return the event in a row that another node told of, or None where the log has to be read for it.

        That is where its words need a key not met here yet, or where it cannot be read as it came.
        """
        key = self._keys.cached(row.key_id) if row.key_id else None
        if row.key_id and key is None:
            return None
        try:
            event = self.to_event(row.topic, row.state, stream, key)
        except (UnknownTopic, InvalidTag, *NOT_DECODED):
            return None
        return Recorded(stream, row.seq, row.position, row.subject, row.at, row.by, event)

    def to_event(self, topic: str, state: bytes, stream: str, key: PersonKey | None) -> Event:
        """Return the event in stored bytes; its words are None where there is no key.

        Raises:
            UnknownTopic: this version does not know it.
            cryptography.exceptions.InvalidTag: its words were tampered with.
            msgspec.MsgspecError, ValueError, RecursionError: the bytes are not what an event of its kind has.
        """
        cls = EVENTS.get(topic)
        if cls is None:
            raise UnknownTopic(topic)
        fields = msgspec.json.decode(state, type=dict[str, Any])
        for name in cls.PERSONAL:
            if fields.get(name) is not None:
                fields[name] = key.open(fields[name], _context(stream, topic, name)) if key else None
        return msgspec.convert(fields, cls)


def misfit(recorded: Recorded) -> str | None:
    """Return why a decoded event cannot be what was recorded; None where it can.

    Its subject was worked out of its state, and every value of it fits into a column of a read model.
    """
    event = recorded.event
    if not belongs(event.TOPIC, recorded.stream):
        return "the topic is none of this stream"
    own = message_subject(recorded.seq) if isinstance(event, MessagePosted) else event.subject
    if own != recorded.subject:
        return "the state is about something else than the subject"
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, int) and abs(value) > LARGEST:
            return f"{name} is out of range"
        if isinstance(value, str | tuple) and "\0" in "".join(map(str, value)):
            return f"{name} holds a NUL"
    return None


class Damaged:
    """The positions that could not be read by this process: each is logged once; `count` is how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._met: OrderedDict[int, None] = OrderedDict()

    def note(self, recorded: Recorded) -> None:
        """Take note of an event with `damage`."""
        damage = recorded.damage
        if damage is None or recorded.position in self._met:
            return
        self.count += 1
        self._met[recorded.position] = None
        if len(self._met) > REMEMBERED:
            self._met.popitem(last=False)
        log.error(
            "unreadable_event",
            extra={
                "position": recorded.position,
                "stream": recorded.stream,
                "seq": recorded.seq,
                "topic": damage.topic,
                "part": damage.part,
                "reason": damage.reason,
            },
        )


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
