"""Read markers: they only move forward, and a burst of moves becomes one event a second.

The first marker of a burst commits at once; those that come within the next second wait, and the furthest of them is
recorded. Each `message:read` is acknowledged after the commit of a marker at or past its own, and its ref is recorded
with it, so that a retry gets the same answer.

Invariant: a reader has at most one commit under way on this node, so two markers of one user never race here; between
nodes the guard on the reader's stream keeps them in order.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

import msgspec

from service.chat.result import CommandResult, failed, result_of
from service.domain import read_marker, room
from service.domain.commands import MoveReadMarker
from service.domain.read_marker import ReaderState
from service.domain.streams import reader_stream
from service.errors import MessageNotFound, OnRecordError, Overloaded, Refusal, Unavailable
from service.eventstore.append_loop import append_decided
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, AppendResult
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from service.realtime.room_feeds import RoomFeeds

INTERVAL = 1.0
"""Seconds between two recorded moves of one reader."""

MAX_WAITING = 200
"""Reads of one reader that may wait for the next commit; further ones are answered `overloaded`."""

log = logging.getLogger("onrecord.markers")


class _Read(msgspec.Struct, frozen=True):
    message: int
    ref: str
    fingerprint: bytes
    refusal: Refusal | None
    answer: "asyncio.Future[CommandResult]"


class _Burst:
    """One reader's reads that are not recorded yet; it ends after a second without any."""

    def __init__(self) -> None:
        self.waiting: list[_Read] = []
        self.wake = asyncio.Event()


Moved = Callable[[str, str, int, datetime], None]


class ReadMarkers:
    """Turns `message:read` into marker moves. `moved(room, user, message, at)` is called after each commit of one."""

    def __init__(
        self,
        feeds: RoomFeeds,
        appender: Appender,
        log_reader: LogReader,
        serializer: EventSerializer,
        moved: Moved,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._feeds = feeds
        self._appender = appender
        self._reader = log_reader
        self._serializer = serializer
        self._moved = moved
        self._bursts: dict[tuple[str, str], _Burst] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def move(
        self, command: MoveReadMarker, by: str, ref: str, sent: bytes
    ) -> "asyncio.Future[CommandResult]":
        """Queue a read; the future resolves after the commit of a marker at or past it, or raises `OnRecordError`.

        Raises:
            Unavailable: the log cannot be read.
            Overloaded: `MAX_WAITING` reads of this reader wait already.
        """
        refusal = await self._refusal(command, by)
        answer: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        name = (command.room, by)
        burst = self._bursts.get(name)
        if burst is None:
            burst = self._bursts[name] = _Burst()
            self._tasks[name] = asyncio.create_task(self._run(name, burst))
        if len(burst.waiting) >= MAX_WAITING:
            raise Overloaded
        burst.waiting.append(
            _Read(command.message, ref, self._serializer.keys.fingerprint(sent), refusal, answer)
        )
        burst.wake.set()
        return answer

    async def close(self) -> None:
        """Stop; reads that wait are answered `unavailable`."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _refusal(self, command: MoveReadMarker, by: str) -> Refusal | None:
        try:
            await self._require_member(command.room, by)
            if not await self._feeds.message_exists(command.room, command.message):
                return MessageNotFound(room=command.room, message=command.message)
        except Refusal as refusal:
            return refusal
        return None

    async def _require_member(self, room_id: str, by: str) -> None:
        """Refuse outsiders; read the room again first, since another node may have changed it."""
        try:
            room.require_member((await self._feeds.feed(room_id)).state, by, self._now())
        except Refusal:
            room.require_member((await self._feeds.refresh(room_id)).state, by, self._now())

    async def _run(self, name: tuple[str, str], burst: _Burst) -> None:
        reads: list[_Read] = []
        try:
            while burst.waiting:
                reads, burst.waiting = burst.waiting, []
                burst.wake.clear()
                await self._record(name, reads)
                await asyncio.sleep(INTERVAL)
        finally:
            # There is no await after the last check of `waiting`, so no read is left in a burst that has ended.
            del self._bursts[name]
            del self._tasks[name]
            _fail([*reads, *burst.waiting], Unavailable())

    async def _record(self, name: tuple[str, str], reads: list[_Read]) -> None:
        try:
            while (furthest := await self._append_furthest(name, reads)) is not None:
                reads = [read for read in reads if read is not furthest]
        except OnRecordError as error:
            _fail(reads, error)
        except Exception:
            log.exception("marker_failed")
            _fail(reads, Unavailable())

    async def _append_furthest(self, name: tuple[str, str], reads: list[_Read]) -> _Read | None:
        """Record the furthest read and return it; where none moves the marker, record all reads and return None.

        The furthest goes alone: the others are answered only once a marker at or past theirs is on the record.
        """
        state, furthest = ReaderState(), None

        async def decide() -> AppendRequest | None:
            nonlocal state, furthest
            state = await self._reader.reader(*name)
            ahead = [read for read in reads if read.refusal is None and read.message > state.marker]
            furthest = max(ahead, key=lambda read: read.message, default=None)
            return None if furthest is None else self._request(name, state, furthest)

        result = await append_decided(decide, self._appender.offer)
        if result is not None and furthest is not None:
            self._settle(name, furthest, result, moves=True)
            return furthest
        # These move nothing, so they have no guard and are never stale.
        placing = [self._appender.offer(self._request(name, state, read)) for read in reads]
        for read, future in zip(reads, placing, strict=True):
            self._settle(name, read, await future, moves=False)
        return None

    def _request(self, name: tuple[str, str], state: ReaderState, read: _Read) -> AppendRequest:
        room_id, by = name
        move = MoveReadMarker(room=room_id, message=read.message)
        events = [] if read.refusal is not None else read_marker.decide(state, move, by)
        return AppendRequest.of(
            self._serializer, reader_stream(room_id, by), events,
            user=by, ref=read.ref, fingerprint=read.fingerprint, decided_on=state.head,
            guard=read_marker.guard(by) if events else (), record=read.refusal is None,
        )  # fmt: skip

    def _settle(self, name: tuple[str, str], read: _Read, result: AppendResult, *, moves: bool) -> None:
        error = failed(result.outcome, read.ref, read.refusal)
        if error is not None:
            _fail([read], error)
            return
        answer = result_of(result)
        if moves and result.outcome in ("appended", "known"):
            self._moved(*name, read.message, answer.at)
        if not read.answer.done():
            read.answer.set_result(answer)


def _fail(reads: list[_Read], error: OnRecordError) -> None:
    for read in reads:
        if not read.answer.done():
            read.answer.set_exception(error)
