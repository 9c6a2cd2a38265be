"""The bus over Redis or Valkey: a `BroadcastBackend` that reconnects and never waits.

It has two connections, one to publish (pipelined, with a deadline) and one to receive. A broken connection is replaced
after a pause with jitter. The new receiving connection subscribes to all channels again, and `missed` is called.
Without a publishing connection, messages are dropped at once, and the other nodes read the log. See
`service.cluster.bus` for the contract, and `docs/decisions/0004-nodes.md` for the reason to use bare connections of
redis-py.
"""

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from service.cluster.bus import MAX_QUEUED, MAX_QUEUED_BYTES, Accept, Missed, ReceivingBackend

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds before a reconnect: doubled each time, multiplied by a random factor between 0.5 and 1."""

MAX_PIPELINED = 500
"""Messages published in one pipeline."""

MAX_SUBSCRIBED = 1_000
"""Channels in one SUBSCRIBE."""

TROUBLE = (redis.RedisError, OSError)
"""The errors of a failed call of redis-py. `TimeoutError` is an `OSError`."""

log = logging.getLogger("onrecord.bus")


class RedisBus(ReceivingBackend):
    """The bus of a Redis or Valkey at `url`.

    `timeout` is in seconds and bounds each call; `prefix` is put before the name of each channel.
    """

    def __init__(
        self, url: str, timeout: float, prefix: str, missed: Missed, accept: Accept, size: int = MAX_QUEUED
    ) -> None:
        super().__init__(missed, accept, size)
        # The library's retries and timeouts are off: this class decides what an outage is, and the library's timeout of
        # a write can swallow a cancellation.
        self._pool: Any = ConnectionPool.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=timeout,
        )
        self._timeout = timeout
        self._prefix = prefix
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._outbox_bytes = 0
        self._size = size
        self._to_send = asyncio.Event()
        self._sending = False
        self._unsent = 0
        self._channels: set[str] = set()
        self._changes: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self._receiving: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def alone(self) -> bool:
        """False, since the other subscribers in Redis are not known."""
        return False

    @property
    def queued(self) -> int:
        """Messages that wait to be sent or to be handled."""
        return len(self._outbox) + super().queued

    @property
    def dropped(self) -> int:
        """Messages dropped for a full queue or a missing connection."""
        return self._unsent + super().dropped

    async def connect(self) -> None:
        """Start to connect; Redis may be down."""
        self._tasks = [
            asyncio.create_task(self._keep_connected("publish", self._publishing)),
            asyncio.create_task(self._keep_connected("subscribe", self._subscribing)),
        ]

    async def disconnect(self) -> None:
        """Close both connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reconnect(self) -> None:
        """Replace the receiving connection, because it looks open and delivers nothing."""
        if self._receiving is not None:
            self._receiving.cancel()

    async def subscribe(self, channel: str) -> None:
        """Start to receive a channel; `missed` is called when the subscription takes effect."""
        self._channels.add(channel)
        self._changes[channel] = True
        self._changed.set()

    async def unsubscribe(self, channel: str) -> None:
        """Stop receiving a channel."""
        self._channels.discard(channel)
        self._changes[channel] = False
        self._changed.set()

    async def publish(self, channel: str, message: bytes) -> None:
        """Queue a message. During an outage it is dropped; if the queue is full, the oldest one is dropped."""
        if not self._sending:
            self._unsent += 1
            return
        self._outbox.append((channel, message))
        self._outbox_bytes += len(message)
        while len(self._outbox) > self._size or self._outbox_bytes > MAX_QUEUED_BYTES:
            self._take_first()
            self._unsent += 1
        self._to_send.set()

    def _take_first(self) -> tuple[str, bytes]:
        channel, message = self._outbox.popleft()
        self._outbox_bytes -= len(message)
        return channel, message

    async def _keep_connected(self, what: str, work: Callable[[Callable[[], None]], Any]) -> None:
        """Run `work` again whenever its connection breaks; `work` calls its argument once it is connected.

        An outage is logged when it begins. A first connection attempt that times out is none yet: a node that is
        starved, as at the start of a busy machine, reads an answer too late that arrived in time. The second attempt
        decides.
        """
        pause, is_up, was_late = FIRST_PAUSE, False, False

        def connected() -> None:
            nonlocal pause, is_up, was_late
            if pause > FIRST_PAUSE and not was_late:
                log.warning("bus_back", extra={"to": what})
            pause, is_up, was_late = FIRST_PAUSE, True, False

        while True:
            is_up = False
            try:
                await work(connected)
            except TROUBLE as error:
                begins = pause == FIRST_PAUSE or was_late
                was_late = pause == FIRST_PAUSE and not is_up and isinstance(error, TimeoutError)
                if begins and not was_late:
                    log.warning("bus_lost", extra={"to": what, "problem": error})
            except Exception:
                log.exception("bus_failed", extra={"to": what})
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, LONGEST_PAUSE)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        connection = self._pool.make_connection()
        try:
            async with asyncio.timeout(self._timeout):
                await connection.connect()
            yield connection
        finally:
            await connection.disconnect(nowait=True)

    async def _publishing(self, connected: Callable[[], None]) -> None:
        async with self._connection() as connection:
            try:
                self._sending = True
                connected()
                while True:
                    await self._to_send.wait()
                    while self._outbox:
                        await self._publish_some(connection)
                    self._to_send.clear()
            finally:
                self._sending = False
                self._unsent += len(self._outbox)
                self._outbox.clear()
                self._outbox_bytes = 0

    async def _publish_some(self, connection: Any) -> None:
        some = [self._take_first() for _ in range(min(len(self._outbox), MAX_PIPELINED))]
        commands = (("PUBLISH", self._prefix + channel, message) for channel, message in some)
        async with asyncio.timeout(self._timeout):
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            for _ in some:
                await connection.read_response()

    async def _subscribing(self, connected: Callable[[], None]) -> None:
        async with self._connection() as connection:
            self._changes = dict.fromkeys(self._channels, True)
            self._changed.set()
            connected()
            self._receiving = asyncio.create_task(self._read_messages(connection))
            tasks = [self._receiving, asyncio.create_task(self._keep_subscribed(connection))]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if not task.cancelled():  # by `reconnect`
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_subscribed(self, connection: Any) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            changes, self._changes = self._changes, {}
            for command, wanted in (("SUBSCRIBE", True), ("UNSUBSCRIBE", False)):
                channels = [channel for channel, want in changes.items() if want is wanted]
                for some in _pieces(channels, MAX_SUBSCRIBED):
                    names = [self._prefix + channel for channel in some]
                    async with asyncio.timeout(self._timeout):
                        await connection.send_command(command, *names, check_health=False)

    async def _read_messages(self, connection: Any) -> None:
        new_connection = True
        while True:
            kind, channel, message = await connection.read_response(timeout=math.inf)
            if kind == b"message":
                self.receive(channel.decode()[len(self._prefix) :], message)
            elif kind == b"subscribe":
                # Messages published before this were missed.
                self._missed(new_connection)
                new_connection = False


def _pieces(channels: list[str], size: int) -> Iterable[list[str]]:
    return (channels[start : start + size] for start in range(0, len(channels), size))
