"""The tail reader: whatever was recorded and not heard here, by a lost message or an unclear commit, is read.

The fast ways are this node's own commits and the bus. Both may fail for the last message before a silence, so this
looks at how far every stream has come since the last look: once an interval, and soon after Postgres or the bus says
that there may be something (`wake`). Rooms that lag are read by the hub; what others did to the membership of somebody
who is connected here is told to them, since none of their connections needs to hear the room. Who was named, suspended
or erased is heard this way alone: it needs no bus.

It also compares what other nodes told with the log, room by room: a room in which something is not on the record is
loaded again. And it sees when the log is not the one it was: a restore renews its epoch, and then nothing known here
holds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from service.domain.events import Recorded
from service.domain.streams import RETENTION, room_of, user_of
from service.errors import Unavailable
from service.eventstore.reader import LogReader, Place
from service.realtime.gap_repair import PATIENCE
from service.realtime.hub import Hub

QUIET = 0.1
"""Seconds that lie between two looks, however often it is woken."""

log = logging.getLogger("onrecord.tail")


class LogTailer:
    """Follows the log's positions from where it stands when `run` begins; `interval` in seconds.

    `affected` is called with a user and what somebody else did to their membership; `renewed` with a new epoch; and
    `persons` with the people about whom something was recorded, and who of them was suspended, restored or erased;
    `expired` with the events that say what has expired.
    """

    def __init__(
        self,
        reader: LogReader,
        hub: Hub,
        interval: float,
        *,
        affected: Callable[[str, Recorded], None],
        persons: Callable[[list[str], list[str]], Awaitable[None]],
        expired: Callable[[list[Recorded]], Awaitable[None]],
        renewed: Callable[[str], None],
    ) -> None:
        self._reader = reader
        self._hub = hub
        self._interval = interval
        self._affected = affected
        self._persons = persons
        self._expired = expired
        self._renewed = renewed
        self._wake = asyncio.Event()
        self._epoch = ""
        self.position = 0

    def wake(self) -> None:
        """Look soon."""
        self._wake.set()

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            Unavailable: the log could not be read at the start.
        """
        if not self._epoch:  # begun again after a failure it goes on where it stood
            self._epoch, self.position = await self._reader.epoch_and_position()
        while True:
            await asyncio.sleep(QUIET)
            try:
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._look()
            except Unavailable:
                log.warning("tail_unavailable", extra={"position": self.position})

    async def _look(self) -> None:
        # What was told by now was committed before, so that the log shows it from now on.
        heard = dict(self._hub.unverified)
        epoch, head = await self._reader.epoch_and_position()
        if epoch != self._epoch:
            log.warning("epoch_renewed", extra={"was": self._epoch, "is": epoch})
            self._epoch, self.position = epoch, head
            self._renewed(epoch)
            heard = {}
        moved = await self._reader.changed_streams(self.position, head) if head > self.position else []
        await self._compare(
            heard, {room_of(one.stream): one for one in moved if one.stream.startswith("room:")}
        )
        if moved:
            await self._follow(moved, head)

    async def _compare(self, heard: dict[str, Recorded], moved: dict[str, Place]) -> None:
        """Compare the last event that other nodes told of each room with the log."""
        found = {
            room: moved[room] for room, told in heard.items() if room in moved and moved[room].seq == told.seq
        }
        asked = [(told.stream, told.seq) for room, told in heard.items() if room not in found]
        if asked:
            found |= {room_of(place.stream): place for place in await self._reader.places(asked)}
        for room, told in heard.items():
            place = found.get(room)
            if place is None or (place.position, place.at) != (told.position, told.at):
                self._hub.resync(room)
            elif self._hub.unverified.get(room) is told:
                del self._hub.unverified[room]

    async def _follow(self, moved: list[Place], head: int) -> None:
        if people := [user_of(one.stream) for one in moved if one.stream.startswith("person:")]:
            await self._persons(people, await self._reader.account_changes(self.position, head))
        if any(one.stream == RETENTION for one in moved):
            await self._expired(await self._reader.expired(self.position, head))
        lagging = [(room_of(one.stream), one.seq) for one in moved if one.stream.startswith("room:")]
        if any(self._hub.feeds.lags(room, seq) for room, seq in lagging):
            await asyncio.sleep(PATIENCE)  # the bus may be bringing it
        for room, seq in lagging:
            if self._hub.feeds.lags(room, seq):
                await self._hub.feeds.refresh(room)
        for recorded in await self._reader.memberships(self.position, head):
            self._affected(recorded.subject.removeprefix("user:"), recorded)
        self.position = head
