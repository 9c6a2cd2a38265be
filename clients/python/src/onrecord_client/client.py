"""The client as the application sees it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from onrecord_client.engine import Engine
from onrecord_client.storage import FileStorage, MemoryStorage, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from onrecord_client.directory import RoomSummary
    from onrecord_client.emitter import Listener
    from onrecord_client.engine import State
    from onrecord_client.room import Room
    from onrecord_client.tokens import Token


class OnRecord:
    """A connection to an OnRecord server that comes back, misses nothing and sends nothing twice.

        async with OnRecord("wss://chat.example.org/ws", token=get_token) as chat:
            room = await chat.join("general")
            await room.send("hello")

    `token` is a token, or a function (also a coroutine function) that returns a valid one at each call. It is called
    before each connection, and before the token expires. `storage` keeps the messages that are not committed yet: a
    path, or an object with `get_item`, `set_item` and `remove_item`; without it they last as long as the process.
    `clock` returns the seconds since 1970.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token,
        storage: Storage | str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if urlsplit(url).scheme not in ("ws", "wss"):
            raise ValueError(f"the address of a server begins with ws:// or wss://, unlike {url!r}")
        if storage is None:
            storage = MemoryStorage()
        elif isinstance(storage, str | os.PathLike):
            storage = FileStorage(storage)
        self._engine = Engine(url, token, storage, clock)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def state(self) -> State:
        """`connecting` (for the first time), `connected`, `reconnecting` or `closed`."""
        return self._engine.state

    @property
    def user_id(self) -> str | None:
        """The user that the token is for; None before the first connection."""
        return self._engine.user_id or None

    @property
    def epoch(self) -> str | None:
        """The epoch of the log, which changes when it is restored from a backup; None before the first connection."""
        return self._engine.epoch

    @property
    def rooms(self) -> Sequence[RoomSummary]:
        """The user's rooms, by id, with their counts.

        From the first use on, the client receives the rooms in the list as if it had joined them, 50 at most besides
        those that it joined, so their counts are current. Those of further rooms are as of the last connection.
        """
        return self._engine.follow()

    def on(self, event: str, listener: Listener) -> None:
        """Call a listener, a plain function, on every such event.

        The events are `state`, with the new state, and `rooms`, with None, when `rooms` has changed.

        Raises:
            TypeError: the listener is a coroutine function.
            ValueError: there is no such event.
        """
        self._engine.emitter.on(event, listener)

    def off(self, event: str, listener: Listener) -> None:
        """Call a listener no more.

        Raises:
            ValueError: there is no such event.
        """
        self._engine.emitter.off(event, listener)

    async def connect(self) -> None:
        """Connect, and try again until it succeeds. A client that is closed may connect again.

        Raises:
            OnRecordError: the server refused the client for good (`session_refused`), or it was closed (`closed`).
        """
        await self._engine.connect()

    async def join(self, room_id: str) -> Room:
        """Join a room, and return it with its latest messages loaded. A room that was joined is returned at once.

        Raises:
            OnRecordError: the user may not join it, or the client is closed.
        """
        return await self._engine.join(room_id)

    async def close(self) -> None:
        """Close the connection.

        Calls that wait end with an `OnRecordError` `closed`. What was not sent stays stored.
        """
        await self._engine.close()
