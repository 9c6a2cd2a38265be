"""Events on their way to listeners: encoded once per wire format, however many there are.

The rule: what is sent to one listener depends on nothing but its wire format and whether its user is the author.
"""

from collections.abc import Callable, Sequence

from service.domain.events import MessagePosted, Recorded, as_erased
from service.domain.message import without_words
from service.protocol.events import MessageNew, Outgoing
from service.protocol.translate import NameOf, to_wire

Encoders = dict[str, Callable[[Outgoing], bytes]]
"""Per wire format, an event as the complete frame that every listener of that format is sent."""


class EncodedEvent:
    """An event on its way to listeners, encoded once per wire format however many they are."""

    __slots__ = ("_encoders", "_frames", "_name_of", "_own", "outgoing", "recorded")

    def __init__(self, recorded: Recorded, name_of: NameOf, encoders: Encoders) -> None:
        self.recorded = recorded
        self.outgoing = to_wire(recorded, name_of)
        self._name_of = name_of
        self._encoders = encoders
        self._frames: dict[str, bytes] = {}
        self._own: dict[str, bytes] = {}

    @property
    def author(self) -> str | None:
        """Who is shown this event otherwise than all others."""
        event = self.recorded.event
        return event.author if isinstance(event, MessagePosted) else None

    @property
    def size(self) -> int:
        """Roughly its length in characters."""
        return 200 + len(getattr(self.recorded.event, "content", None) or "")

    def silenced(self) -> "EncodedEvent":
        """Return the same event without the words of its message."""
        return EncodedEvent(without_words(self.recorded), self._name_of, self._encoders)

    def forgetting(self) -> "EncodedEvent":
        """Return the same event as it reads once its words are erased, with the names that people have now."""
        return EncodedEvent(as_erased(self.recorded), self._name_of, self._encoders)

    def renamed(self) -> "EncodedEvent":
        """Return the same event with the names that people have now."""
        return EncodedEvent(self.recorded, self._name_of, self._encoders)

    def frame(self, wire_format: str, user: str) -> bytes:
        """Return the frame for a listener of `user`; a message's `ref` is shown to its author only."""
        if self.author == user:
            return self._cached(self._own, wire_format, self.outgoing)
        if (frame := self._frames.get(wire_format)) is not None:
            return frame
        return self._cached(self._frames, wire_format, _without_ref(self.outgoing))

    def _cached(self, cache: dict[str, bytes], wire_format: str, outgoing: Outgoing) -> bytes:
        frame = cache.get(wire_format)
        if frame is None:
            frame = cache[wire_format] = self._encoders[wire_format](outgoing)
        return frame


class CoalescedFrames:
    """Events that go out together; in the format `joining`, as one piece of bytes."""

    def __init__(self, items: Sequence[EncodedEvent], joining: str | None) -> None:
        self._items = items
        self._joining = joining
        self._shared: dict[str, list[bytes]] = {}
        self.authors = {item.author for item in items if item.author is not None}
        """Who is shown some of them otherwise than all others."""

    @property
    def in_one_piece(self) -> bytes:
        """Everything, as who hears the joining format is written it; nothing where there is no such format."""
        return b"" if self._joining is None else self.frames(self._joining, "")[0]

    def frames(self, wire_format: str, user: str) -> list[bytes]:
        """Return what a listener of `user` is written, in order."""
        if user in self.authors:
            return self._made(wire_format, user)
        if (shared := self._shared.get(wire_format)) is None:
            shared = self._shared[wire_format] = self._made(wire_format, "")
        return shared

    def _made(self, wire_format: str, user: str) -> list[bytes]:
        frames = [item.frame(wire_format, user) for item in self._items]
        return [b"".join(frames)] if wire_format == self._joining else frames


def _without_ref(outgoing: Outgoing) -> Outgoing:
    if isinstance(outgoing, MessageNew):
        fields = {name: getattr(outgoing, name) for name in outgoing.__struct_fields__ if name != "ref"}
        return MessageNew(**fields)
    return outgoing
