"""Runs the catch-ups of one session, a task for each room; all of them end with the session."""

import asyncio
import logging
from functools import partial

from service.errors import Trouble
from service.gateway.transport.transport import Transport
from service.protocol.close_codes import Close
from service.realtime.subscriber import Subscriber
from service.realtime.subscriptions import Subscriptions

log = logging.getLogger("onrecord.session")


class CatchUps:
    """The task group of a session: at most one current task per room."""

    def __init__(self, session: str, transport: Transport, subscriptions: Subscriptions) -> None:
        self._session = session
        self._transport = transport
        self._subscriptions = subscriptions
        self._by_room: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        """Also those that were cancelled and have not ended yet."""

    def start(self, subscriber: Subscriber, room: str, after: int | None) -> None:
        """Catch up with a room from a seq, then subscribe to it live."""
        task = self._by_room[room] = asyncio.create_task(self._run(subscriber, room, after))
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, room))

    def cancel(self, room: str) -> None:
        """Cancel the task of a room, if there is one."""
        if (task := self._by_room.pop(room, None)) is not None:
            task.cancel()

    def detach(self, room: str) -> None:
        """Forget the task of a room without cancelling it."""
        self._by_room.pop(room, None)

    async def settle(self) -> None:
        """Wait until all tasks have ended, since each still records how far it has written."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, room: str, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._by_room.get(room) is task:
            del self._by_room[room]

    async def _run(self, subscriber: Subscriber, room: str, after: int | None) -> None:
        self._transport.catchup += 1
        try:
            await self._subscriptions.subscribe(subscriber, room, after)
        except Exception as error:
            # The client cannot know what it misses, so it has to reconnect with its cursors.
            trouble = None if isinstance(error, Trouble) else error
            log.error("catch_up_failed", exc_info=trouble, extra={"room": room, "session": self._session})  # noqa: TRY400 - Trouble is known
            self._transport.close(Close.SHUTTING_DOWN, "the log cannot be read; come back")
        finally:
            self._transport.catchup -= 1
