"""The projector: a runner for each projection, and one more for tables that somebody wants filled anew."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from projections.engine import rebuild
from projections.engine.log_window import Changed
from projections.engine.projection import Projection
from projections.engine.runner import DEADLINE, Connect, Runner, Watch
from service.eventstore.damage import Damaged
from service.eventstore.notifications import listen
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import hard_timeout, is_transient

LOOK_FOR_WISHES = 5.0
"""Seconds between two looks for tables that somebody wants filled anew."""

log = logging.getLogger("onrecord.project")


class Projector:
    """Follows the log for several projections; `runners` are theirs, for metrics."""

    def __init__(
        self,
        connect: Connect,
        serializer: EventSerializer,
        projections: Iterable[Projection],
        interval: float,
        watch: Watch | None = None,
        changed: Changed | None = None,
    ) -> None:
        self._connect = connect
        self._serializer = serializer
        self._interval = interval
        self._changed = changed
        self.runners = [
            Runner(connect, serializer, projection, interval, watch=watch, changed=changed)
            for projection in projections
        ]

    @property
    def damaged(self) -> Damaged:
        """What was met that cannot be read."""
        return self._serializer.damaged

    async def run(self) -> None:
        """Follow until cancelled, or until each projection has met an event that it does not understand."""
        projections = [runner.projection for runner in self.runners]
        async with asyncio.TaskGroup() as group:
            mending = group.create_task(
                mend(self._connect, self._serializer, projections, self._interval, self._changed), name="mend"
            )
            await run_each(self.runners, self._connect)
            mending.cancel()


async def mend(
    connect: Connect,
    serializer: EventSerializer,
    projections: Sequence[Projection],
    interval: float,
    changed: Changed | None = None,
) -> None:
    """Fill tables anew whenever that is asked for (`rebuild.again`), one after the other, until cancelled."""
    while True:
        try:
            await _mend_asked(connect, serializer, projections, interval, changed)
        except Exception as error:
            if not is_transient(error):  # else the runners, who meet the same, say so
                log.exception("mending_failed")
        await asyncio.sleep(LOOK_FOR_WISHES)


async def _mend_asked(
    connect: Connect,
    serializer: EventSerializer,
    projections: Sequence[Projection],
    interval: float,
    changed: Changed | None,
) -> None:
    connection = await connect()
    try:
        with hard_timeout(connection, DEADLINE):
            wanted = await rebuild.wanted_again(connection, projections)
    finally:
        connection.terminate()
    for projection in wanted:
        table = rebuild.again(projection)
        await Runner(connect, serializer, projection, interval, table, changed=changed).run()


async def run_each(runners: Sequence[Runner], connect: Connect) -> None:
    """Run several runners, woken by one connection that listens for all; return as `Projector.run` does."""
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(
            listen(connect, [runner.wake for runner in runners], DEADLINE), name="notify"
        )
        async with asyncio.TaskGroup() as following:
            for runner in runners:
                following.create_task(runner.run(), name=f"project {runner.projection.name}")
        listening.cancel()
