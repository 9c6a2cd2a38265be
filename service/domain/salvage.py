"""Derives an event from its envelope if its stored state cannot be decoded.

Topic, stream, subject, seq and author are columns beside the state, and the seals cover them too. They suffice to know
that a member left, that a message was deleted or that a person is suspended, but not the text of the event.

Invariant: where the envelope leaves a choice, the salvaged event is the one that grants least and shows least. A member
who was removed stays removed, a message that was deleted stays deleted, and a ban without its end lasts. An event that
its envelope does not determine is an `Unreadable`, which changes only the head of its stream.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from service.domain.events import (
    EVENTS,
    AboutMessage,
    AboutReport,
    AboutSession,
    AboutUser,
    ContentExpired,
    Event,
    HoldPlaced,
    HoldReleased,
    KeyReplaced,
    MessagePosted,
    PersonErased,
    ReportResolved,
    RoleChanged,
    RoomOpened,
    SessionClosed,
    SessionOpened,
    Unreadable,
)
from service.domain.streams import HOLDS, is_direct_room, message_subject, room_of, room_stream

_STREAMS = {"hold": HOLDS}
"""Streams whose name differs from the first word of their topics."""

UNKNOWN = "(unreadable)"
"""Replaces a text in the clear that cannot be read."""


class Envelope(msgspec.Struct, frozen=True):
    """The columns of a stored event, besides its state, that name its place and its subject."""

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
    """Return the event that an envelope alone determines."""
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
    """Return whether events of a topic belong in streams such as this one."""
    kind = topic.partition(".")[0]
    return stream.partition(":")[0] == _STREAMS.get(kind, kind)


def _implied(envelope: Envelope) -> type[Event] | None:
    """Return the kind of an event of unknown topic, if its place determines it."""
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
    if kind == "report" and issubclass(cls, AboutReport):
        return {"report": envelope.name}
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
    ReportResolved: lambda _: {"outcome": UNKNOWN},
    PersonErased: lambda _: {"ground": UNKNOWN},
    HoldPlaced: _held,
    HoldReleased: _held,
    # The day is unknown, so the event justifies no erasure; the text that its keys sealed is gone all the same.
    ContentExpired: lambda envelope: {"room": envelope.name, "until": date.min, "days": 0},
    KeyReplaced: lambda _: {"rooms": ()},
    SessionOpened: lambda _: {"node": UNKNOWN, "incarnation": "", "address": None},
    SessionClosed: lambda _: {"reason": UNKNOWN, "ranges": None},
}
"""Values of the required fields that are not part of the subject."""
