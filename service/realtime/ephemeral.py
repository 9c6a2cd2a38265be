"""What is no part of any room's order, on its way to listeners: encoded once per wire format, and sent in one piece."""

from collections.abc import Iterable

from service.protocol.events import Outgoing
from service.realtime.encoded_event import Encoders
from service.realtime.subscriber import Subscriber


class EphemeralBatch:
    """Frames of what is sent to several listeners; frames of the format `joining` may be sent several at once."""

    def __init__(self, encoders: Encoders, joining: str | None) -> None:
        self._encoders = encoders
        self._joining = joining
        # By identity: what carries a list has no hash. The event is kept, so that its id is not given to another.
        self._frames: dict[tuple[str, int], tuple[Outgoing, bytes]] = {}

    def send(self, listener: Subscriber, letter: Iterable[Outgoing]) -> None:
        """Send a listener what it is told."""
        wire_format = listener.wire_format
        frames = [self._frame(wire_format, outgoing) for outgoing in letter]
        for frame in [b"".join(frames)] if frames and wire_format == self._joining else frames:
            listener.write(frame)

    def _frame(self, wire_format: str, outgoing: Outgoing) -> bytes:
        known = self._frames.get((wire_format, id(outgoing)))
        if known is None:
            known = outgoing, self._encoders[wire_format](outgoing)
            self._frames[wire_format, id(outgoing)] = known
        return known[1]
