"""What is past, written to one listener who catches up: from the feed's ring, or page by page from the log.

The rule: nobody is written more than `SLICE` at once before having taken most of it, and how far they have come is
known after each event. Those who come later are not shown what was deleted since.
"""

from collections.abc import Iterable

from service.domain.events import Recorded
from service.domain.message import number_of, without_words
from service.domain.streams import room_stream
from service.live.items import Encoders, Item
from service.live.listener import Listener, Reach, report
from service.live.people import People, named_in
from service.log.read import LogReader

PAGE = 200
"""Events read at once from the log to catch up."""

SLICE = 128 * 1024
"""Bytes written to one listener that catches up, before it has to have taken most of them."""


class Pages:
    """Writes the past of rooms; `written` counts events."""

    def __init__(self, reader: LogReader, people: People, encoders: Encoders) -> None:
        self._reader = reader
        self._people = people
        self._encoders = encoders
        self.written = 0

    def write_some(self, listener: Listener, items: Iterable[Item], reach: Reach) -> None:
        """Write events until a slice is full, or until the listener takes no more."""
        written = 0
        for item in items:
            if written >= SLICE or listener.closing:
                break
            frame = item.frame(listener.wire_format, listener.user)
            listener.write(frame)
            written += len(frame)
            reach.upto = item.recorded.seq
            self.written += 1

    async def send(self, listener: Listener, room: str, reach: Reach, last: int) -> None:
        """Send a page of the log up to a seq, paced."""
        events = await self._reader.stream(room_stream(room), reach.upto, PAGE, last)
        await self._people.load(named_in(events))
        items = [
            Item(recorded, self._people.name_of, self._encoders)
            for recorded in await self._without_deleted(room, events)
        ]
        while items and not listener.closing:
            self.write_some(listener, items, reach)
            items = [item for item in items if item.recorded.seq > reach.upto]
            await listener.drained()
        if not events:  # nothing stands there, so nothing of it was written
            report(listener, room, reach)
            reach.after = reach.upto = last

    async def _without_deleted(self, room: str, events: list[Recorded]) -> list[Recorded]:
        """Return past events as whoever comes later is shown them: what was deleted since says nothing."""
        said = {recorded.seq: number for recorded in events if (number := number_of(recorded)) is not None}
        gone = await self._reader.deleted(room, set(said.values()))
        return [without_words(one) if said.get(one.seq) in gone else one for one in events]
