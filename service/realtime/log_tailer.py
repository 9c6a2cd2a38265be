"""Follows the log, so that this node also applies events that neither its own commits nor the bus have brought.

The bus may lose a message, a node may not know whether its commit succeeded, and no later event may show the gap. So
the tailer reads which streams have advanced: once per interval, and soon after `wake`, which Postgres or the bus calls.
It refreshes rooms that lag. It reports membership changes by others to connected users, who may not be subscribed to
the room. Changes to accounts are read only here, so they do not depend on the bus.

The tailer also compares the events that other nodes sent with the log, and reloads a room that has an event which is
not on the record. A restore of the log changes its epoch, and makes all state in memory invalid.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.domain.events import Recorded
from service.domain.streams import RETENTION, room_of, user_of
from service.errors import Unavailable
from service.eventstore.reader import LogReader, Place
from service.realtime.gap_repair import PATIENCE
from service.realtime.hub import Hub

QUIET = 0.1
"""Minimum seconds between two polls, however often `wake` is called."""

log = logging.getLogger("onrecord.tail")


class LogTailer:
    """Follows the log from its head at the start of `run`; `interval` in seconds.

    `affected` is called with a user, and an event by another user that changed their membership; `persons` with the
    users whose accounts changed and the seqs of their last events, and those of them who were suspended, restored or
    erased; `expired` with the events that record expiry; `renewed` with a new epoch; `reported` with two positions
    between which messages were reported or reports resolved.
    """

    def __init__(
        self,
        reader: LogReader,
        hub: Hub,
        interval: float,
        *,
        affected: Callable[[str, Recorded], None],
        persons: Callable[[dict[str, int], list[str]], Awaitable[None]],
        expired: Callable[[list[Recorded]], Awaitable[None]],
        reported: Callable[[int, int], Awaitable[None]],
        renewed: Callable[[str], None],
    ) -> None:
        self._reader = reader
        self._hub = hub
        self._interval = interval
        self._affected = affected
        self._persons = persons
        self._expired = expired
        self._renewed = renewed
        self._reported = reported
        self._wake = asyncio.Event()
        self._epoch = ""
        self.position = 0

    def wake(self) -> None:
        """Poll the log soon."""
        self._wake.set()

    async def run(self) -> None:
        """Poll the log until cancelled.

        Raises:
            Unavailable: the log could not be read at the start.
        """
        if not self._epoch:  # a restart of this task after a failure continues at the last position
            self._epoch, self.position = await self._reader.epoch_and_position()
        while True:
            await asyncio.sleep(QUIET)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._poll()
            except Unavailable:
                log.warning("tail_unavailable", extra={"position": self.position})

    async def _poll(self) -> None:
        # These events were committed before they were sent, so the log shows them by now.
        received = dict(self._hub.unverified)
        epoch, head = await self._reader.epoch_and_position()
        if epoch != self._epoch:
            log.warning("epoch_renewed", extra={"was": self._epoch, "is": epoch})
            self._epoch, self.position = epoch, head
            self._renewed(epoch)
            received = {}
        moved = await self._reader.changed_streams(self.position, head) if head > self.position else []
        await self._compare(
            received, {room_of(place.stream): place for place in moved if place.stream.startswith("room:")}
        )
        if moved:
            await self._follow(moved, head)

    async def _compare(self, received: dict[str, Recorded], moved: dict[str, Place]) -> None:
        """Compare the last event that other nodes sent for each room with the log."""
        found = {
            room: moved[room]
            for room, event in received.items()
            if room in moved and moved[room].seq == event.seq
        }
        unseen = [(event.stream, event.seq) for room, event in received.items() if room not in found]
        if unseen:
            found |= {room_of(place.stream): place for place in await self._reader.places(unseen)}
        for room, event in received.items():
            place = found.get(room)
            if place is None or (place.position, place.at) != (event.position, event.at):
                self._hub.resync(room)
            elif self._hub.unverified.get(room) is event:
                del self._hub.unverified[room]

    async def _follow(self, moved: list[Place], head: int) -> None:
        if people := {
            user_of(place.stream): place.seq for place in moved if place.stream.startswith("person:")
        }:
            await self._persons(people, await self._reader.account_changes(self.position, head))
        if any(place.stream == RETENTION for place in moved):
            await self._expired(await self._reader.expired(self.position, head))
        lagging = [(room_of(place.stream), place.seq) for place in moved if place.stream.startswith("room:")]
        if any(self._hub.feeds.lags(room, seq) for room, seq in lagging):
            await asyncio.sleep(PATIENCE)  # the bus may bring the events in this time
        for room, seq in lagging:
            if self._hub.feeds.lags(room, seq):
                await self._hub.feeds.refresh(room)
        for recorded in await self._reader.memberships(self.position, head):
            self._affected(recorded.subject.removeprefix("user:"), recorded)
        if any(place.stream.startswith("report:") for place in moved):
            await self._reported(self.position, head)
        self.position = head
