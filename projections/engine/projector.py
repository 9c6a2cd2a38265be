"""The projector: runs one runner per projection, and another for each table whose rebuild is requested."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from projections.engine import rebuild
from projections.engine.log_window import DiffersFromSeal
from projections.engine.projection import Projection
from projections.engine.runner import DEADLINE, Connect, Runner, Watch
from service.eventstore.damage import Damaged
from service.eventstore.notifications import listen
from service.eventstore.serializer import EventSerializer
from service.runtime.database_retry import hard_timeout, is_transient

REQUEST_INTERVAL = 5.0
"""Seconds between two checks for requested rebuilds."""

log = logging.getLogger("onrecord.project")


class Projector:
    """Follows the log for several projections, each with one of `runners`.

    `connect` opens a connection, `session` one that is a session, for notifications; default: `connect`.
    """

    def __init__(
        self,
        connect: Connect,
        serializer: EventSerializer,
        projections: Iterable[Projection],
        interval: float,
        watch: Watch | None = None,
        differs: DiffersFromSeal | None = None,
        session: Connect | None = None,
    ) -> None:
        self._connect = connect
        self._session = session or connect
        self._serializer = serializer
        self._interval = interval
        self._differs = differs
        self.runners = [
            Runner(connect, serializer, projection, interval, watch=watch, differs=differs)
            for projection in projections
        ]

    @property
    def damaged(self) -> Damaged:
        """The counts of events that could not be read."""
        return self._serializer.damaged

    async def run(self) -> None:
        """Follow until cancelled, or until each projection has stopped at an event of a newer version."""
        async with asyncio.TaskGroup() as group:
            rebuilding = group.create_task(self._rebuild(), name="rebuild")
            await run_each(self.runners, self._session)
            rebuilding.cancel()

    async def _rebuild(self) -> None:
        """Rebuild tables on request, one at a time, until cancelled."""
        while True:
            try:
                await self._rebuild_requested()
            except Exception as error:
                if not is_transient(error):  # a transient error is logged by the runners
                    log.exception("mending_failed")
            await asyncio.sleep(REQUEST_INTERVAL)

    async def _rebuild_requested(self) -> None:
        connection = await self._connect()
        try:
            with hard_timeout(connection, DEADLINE):
                projections = [runner.projection for runner in self.runners]
                requested = await rebuild.requested(connection, projections)
        finally:
            connection.terminate()
        for projection in requested:
            table = rebuild.replacement(projection)
            await Runner(
                self._connect, self._serializer, projection, self._interval, table, differs=self._differs
            ).run()


async def run_each(runners: Sequence[Runner], connect: Connect) -> None:
    """Run several runners, woken by one listening connection; return as `Projector.run` does."""
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(
            listen(connect, [runner.wake for runner in runners], DEADLINE), name="notify"
        )
        async with asyncio.TaskGroup() as following:
            for runner in runners:
                following.create_task(runner.run(), name=f"project {runner.projection.name}")
        listening.cancel()
