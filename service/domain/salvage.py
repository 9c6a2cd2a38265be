"""What still holds of a stored event whose state cannot be decoded: what its envelope says.

Topic, stream, subject, seq and author stand in columns beside the state, and the seals cover them too. They are enough
to know that a member left, that a message was deleted or that a person is suspended, though not in which words.

Invariant: where the envelope leaves a choice, the salvaged event is the one that grants least and shows least. A member
who was removed stays removed, a message that was deleted stays deleted, and a ban without its end lasts. An event that
its envelope does not determine is an `Unreadable`, which changes nothing but the head of its stream.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from service.domain.events import (
    EVENTS,
    AboutMessage,
    AboutSession,
    AboutUser,
    ContentExpired,
    Event,
    HoldPlaced,
    HoldReleased,
    KeyReplaced,
    MessagePosted,
    PersonErased,
    RoleChanged,
    RoomOpened,
    SessionClosed,
    SessionOpened,
    Unreadable,
)
from service.domain.streams import HOLDS, is_direct_room, message_subject, room_of, room_stream

_STREAMS = {"hold": HOLDS}
"""The streams that are not called as the first word of their topics."""

UNKNOWN = "(unreadable)"
"""Stands where a text in the clear cannot be read."""


class Envelope(msgspec.Struct, frozen=True):
    """The columns of a stored event beside its state that say what it is about."""

    stream: str
    seq: int
    topic: str
    subject: str
    by: str

    @property
    def name(self) -> str:
        """The subject without its kind."""
        return self.subject.partition(":")[2]


def salvaged(envelope: Envelope) -> Event:
    """Return what an envelope alone says of an event."""
    known = EVENTS.get(envelope.topic) if belongs(envelope.topic, envelope.stream) else None
    cls = known or _implied(envelope)
    if cls is None:
        return Unreadable(topic=envelope.topic)
    fields = _about(envelope, cls) | dict.fromkeys(cls.PERSONAL) | _REST.get(cls, _nothing)(envelope)
    try:
        return msgspec.convert(fields, cls)
    except msgspec.ValidationError:
        return Unreadable(topic=envelope.topic)


def belongs(topic: str, stream: str) -> bool:
    """Return whether events of a topic stand in streams such as this one."""
    kind = topic.partition(".")[0]
    return stream.partition(":")[0] == _STREAMS.get(kind, kind)


def _implied(envelope: Envelope) -> type[Event] | None:
    """Return the kind of an event whose topic is not known, where its place says it."""
    if not envelope.stream.startswith(room_stream("")):
        return None
    if envelope.seq == 1:
        return RoomOpened
    return MessagePosted if envelope.subject == message_subject(envelope.seq) else None


def _about(envelope: Envelope, cls: type[Event]) -> dict[str, Any]:
    kind = envelope.subject.partition(":")[0]
    if kind == "user" and issubclass(cls, AboutUser):
        return {"user": envelope.name}
    if kind == "session" and issubclass(cls, AboutSession):
        return {"session": envelope.name}
    if kind == "message" and issubclass(cls, AboutMessage) and envelope.name.isdecimal():
        return {"message": int(envelope.name)}
    return {}


def _opened(envelope: Envelope) -> dict[str, Any]:
    room = room_of(envelope.stream)
    return {"name": room, "visibility": "direct" if is_direct_room(room) else "private"}


def _held(envelope: Envelope) -> dict[str, Any]:
    return {"held": envelope.subject, "ground": UNKNOWN}


def _nothing(_envelope: Envelope) -> dict[str, Any]:
    return {}


_REST: dict[type[Event], Callable[[Envelope], dict[str, Any]]] = {
    RoomOpened: _opened,
    RoleChanged: lambda _: {"role": "member"},
    MessagePosted: lambda envelope: {"author": envelope.by, "ref": ""},
    PersonErased: lambda _: {"ground": UNKNOWN},
    HoldPlaced: _held,
    HoldReleased: _held,
    # The day is not known, so it is a ground for nothing; what its keys sealed is gone all the same.
    ContentExpired: lambda envelope: {"room": envelope.name, "until": date.min, "days": 0},
    KeyReplaced: lambda _: {"rooms": ()},
    SessionOpened: lambda _: {"node": UNKNOWN, "incarnation": "", "address": None},
    SessionClosed: lambda _: {"reason": UNKNOWN, "ranges": None},
}
"""What is put for the required fields that are no part of the subject."""
