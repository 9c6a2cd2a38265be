"""Events encoded once per wire format, for any number of subscribers.

Invariant: a frame depends only on the wire format, and on whether the subscriber's user is the author, or one who has
blocked the author and is mentioned.
"""

from collections.abc import Callable, Sequence
from sys import getsizeof

import msgspec

from service.domain.events import (
    Event,
    MessagePosted,
    ReactionAdded,
    ReactionRemoved,
    Recorded,
    as_erased,
)
from service.domain.message import without_words
from service.protocol.events import MessageNew, MessageReaction, Outgoing
from service.protocol.translate import NameOf, to_wire

Encoders = dict[str, Callable[[Outgoing], bytes]]
"""By wire format, the function that encodes an event as a complete frame."""

MOST_TOGETHER = 64 * 1024
"""Bytes in one write batch, about; the next event starts another batch."""

_BYTES_OF_FRAME = 200
_BYTES_OF_ITEM = 1_500
"""What a frame, and the objects of an event, take beside the text of the event."""


class EncodedEvent:
    """A recorded event with its frames, which are encoded on first use."""

    __slots__ = (
        "_encoders",
        "_frames",
        "_name_of",
        "_own",
        "author",
        "length",
        "memory",
        "on_grow",
        "outgoing",
        "recorded",
        "silenced",
    )

    def __init__(self, recorded: Recorded, name_of: NameOf, encoders: Encoders) -> None:
        self.recorded = recorded
        self.outgoing = to_wire(recorded, name_of)
        self._name_of = name_of
        self._encoders = encoders
        self._frames: dict[str, bytes] = {}
        self._own: dict[str, bytes] = {}
        self.length = _BYTES_OF_FRAME + text_size(recorded.event)
        """About the bytes of a frame."""
        self.memory = _BYTES_OF_ITEM + self.length
        """About the bytes of memory that this holds, the encoded frames included."""
        self.on_grow: Callable[[int], None] | None = None
        """Called with the bytes by which `memory` has grown."""
        self.author: str | None = None
        """The author of a message or reaction, whose frame differs from the others'; None for any other event."""
        self.silenced: tuple[str, ...] = ()
        """The mentioned users who have blocked the author: their frames show no mention of them."""
        event = recorded.event
        if isinstance(event, MessagePosted):
            self.author, self.silenced = event.author, event.silenced
        elif isinstance(event, ReactionAdded | ReactionRemoved):
            self.author = recorded.by

    def without_content(self) -> "EncodedEvent":
        """Return the event without the content of its message."""
        return EncodedEvent(without_words(self.recorded), self._name_of, self._encoders)

    def erased(self) -> "EncodedEvent":
        """Return the event as it reads after the erasure of its author, with current names."""
        return EncodedEvent(as_erased(self.recorded), self._name_of, self._encoders)

    def renamed(self) -> "EncodedEvent":
        """Return the event with current names."""
        return EncodedEvent(self.recorded, self._name_of, self._encoders)

    def frame(self, wire_format: str, user: str) -> bytes:
        """Return the frame for a subscriber of `user`; only its author receives `ref` and `mine`."""
        if self.author == user:
            return self._cached(self._own, wire_format, _as_own(self.outgoing))
        if user in self.silenced:
            return self._encoders[wire_format](_without_mention(_without_ref(self.outgoing), user))
        if (frame := self._frames.get(wire_format)) is not None:
            return frame
        return self._cached(self._frames, wire_format, _without_ref(self.outgoing))

    def _cached(self, cache: dict[str, bytes], wire_format: str, outgoing: Outgoing) -> bytes:
        frame = cache.get(wire_format)
        if frame is None:
            frame = cache[wire_format] = self._encoders[wire_format](outgoing)
            self.memory += len(frame)
            if self.on_grow is not None:
                self.on_grow(len(frame))
        return frame


class WriteBatch:
    """Events that are written together; the last one may have ended the membership of the user `ended`."""

    def __init__(self) -> None:
        self.items: list[EncodedEvent] = []
        self.size = 0
        self.ended: str | None = None

    @property
    def full(self) -> bool:
        """Whether the next event has to start another batch."""
        return self.ended is not None or self.size >= MOST_TOGETHER

    @property
    def last(self) -> int:
        """The seq of the last event."""
        return self.items[-1].recorded.seq

    def add(self, item: EncodedEvent) -> None:
        """Append the next event."""
        self.items.append(item)
        self.size += item.length


class CoalescedFrames:
    """The frames of a batch; those of the format `concatenable` are concatenated."""

    def __init__(self, items: Sequence[EncodedEvent], concatenable: str | None) -> None:
        self.items = items
        self._concatenable = concatenable
        self._shared: dict[str, list[bytes]] = {}
        self.apart = {item.author for item in items if item.author is not None}
        """The users whose frames differ from those of all others."""
        for item in items:
            if item.silenced:
                self.apart.update(item.silenced)

    @property
    def joined(self) -> bytes:
        """The concatenated frames for users who are not among `apart`; empty without such a format."""
        return b"" if self._concatenable is None else self.frames(self._concatenable, "")[0]

    def frames(self, wire_format: str, user: str) -> list[bytes]:
        """Return the frames for a subscriber of `user`, in order."""
        if user in self.apart:
            return self._encode(wire_format, user)
        if (shared := self._shared.get(wire_format)) is None:
            shared = self._shared[wire_format] = self._encode(wire_format, "")
        return shared

    def _encode(self, wire_format: str, user: str) -> list[bytes]:
        frames = [item.frame(wire_format, user) for item in self.items]
        return [b"".join(frames)] if wire_format == self._concatenable else frames


def text_size(event: Event) -> int:
    """Return the bytes of memory that the text of an event takes, its UTF-8 form included."""
    size = 0
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str):
            size += getsizeof(value) if value.isascii() else 3 * getsizeof(value)
        elif isinstance(value, tuple):
            size += sum(map(getsizeof, value))
    return size


def _as_own(outgoing: Outgoing) -> Outgoing:
    if isinstance(outgoing, MessageReaction):
        return msgspec.structs.replace(outgoing, mine=outgoing.added)
    return outgoing


def _without_ref(outgoing: Outgoing) -> Outgoing:
    return msgspec.structs.replace(outgoing, ref=None) if isinstance(outgoing, MessageNew) else outgoing


def _without_mention(outgoing: Outgoing, user: str) -> Outgoing:
    if not isinstance(outgoing, MessageNew):
        return outgoing
    mentions = tuple(mentioned for mentioned in outgoing.mentions if mentioned != user)
    return msgspec.structs.replace(outgoing, mentions=mentions)
