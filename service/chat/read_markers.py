"""Records read markers: they only move forward, and a burst of `message:read` becomes one event a second.

The first read of a burst is recorded at once. Those of the next second wait, and the furthest of them is recorded. Each
`message:read` is acknowledged after the commit of a marker at or past its message, and its ref is recorded too, so that
a retry gets the same answer.

Invariant: a reader (a user in a room) has at most one commit under way on this node. Between nodes, the guard on the
reader's stream keeps the moves in order.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

import msgspec

from service.chat.log_budget import BudgetedAppender
from service.chat.result import CommandResult, failed, result_of
from service.domain import read_marker, room
from service.domain.commands import MoveReadMarker
from service.domain.read_marker import ReaderState
from service.domain.streams import reader_stream
from service.errors import MessageNotFound, OnRecordError, Overloaded, Refusal, Unavailable
from service.eventstore.appender import append_decided
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


Moved = Callable[[str, str, int, datetime], None]


class ReadMarkers:
    """Turns `message:read` into marker moves; `moved(room, user, message, at)` is called after the commit of each."""

    def __init__(
        self,
        feeds: RoomFeeds,
        appender: BudgetedAppender,
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
        # By reader, the reads that are not recorded yet; a burst ends after a second without any.
        self._bursts: dict[tuple[str, str], list[_Read]] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def move(
        self, command: MoveReadMarker, by: str, ref: str, sent: bytes
    ) -> "asyncio.Future[CommandResult]":
        """Queue a read; the future resolves after the commit of a marker at or past it, or raises `OnRecordError`.

        `sent` is what the client sent: it distinguishes a retry from another command under the same ref.

        Raises:
            Unavailable: the log cannot be read.
            Overloaded: `MAX_WAITING` reads of this reader wait already.
        """
        refusal = await self._refusal(command, by)
        answer: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        reader = (command.room, by)
        if reader not in self._bursts:
            self._bursts[reader] = []
            self._tasks[reader] = asyncio.create_task(self._run(reader))
        waiting = self._bursts[reader]
        if len(waiting) >= MAX_WAITING:
            raise Overloaded
        waiting.append(_Read(command.message, ref, self._serializer.keys.fingerprint(sent), refusal, answer))
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
        """Raise a refusal if a user is not a member, also by the log: another node may have changed the room."""
        try:
            room.require_member((await self._feeds.feed(room_id)).state, by, self._now())
        except Refusal:
            room.require_member((await self._feeds.refresh(room_id)).state, by, self._now())

    async def _run(self, reader: tuple[str, str]) -> None:
        reads: list[_Read] = []
        try:
            while self._bursts[reader]:
                reads, self._bursts[reader] = self._bursts[reader], []
                await self._record(reader, reads)
                await asyncio.sleep(INTERVAL)
        finally:
            # There is no await after the last check of the burst, so no read is left in one that has ended.
            del self._tasks[reader]
            _fail([*reads, *self._bursts.pop(reader)], Unavailable())

    async def _record(self, reader: tuple[str, str], reads: list[_Read]) -> None:
        try:
            while (furthest := await self._append_furthest(reader, reads)) is not None:
                reads = [read for read in reads if read is not furthest]
        except OnRecordError as error:
            _fail(reads, error)
        except Exception:
            log.exception("marker_failed")
            _fail(reads, Unavailable())

    async def _append_furthest(self, reader: tuple[str, str], reads: list[_Read]) -> _Read | None:
        """Append the furthest read that moves the marker and return it; if none does, append all and return None.

        The furthest is appended alone, because the others are answered only once a marker at or past theirs is on the
        record.
        """
        state, furthest = ReaderState(), None

        async def decide() -> AppendRequest | None:
            nonlocal state, furthest
            state = await self._reader.reader(*reader)
            ahead = [read for read in reads if read.refusal is None and read.message > state.marker]
            furthest = max(ahead, key=lambda read: read.message, default=None)
            return None if furthest is None else self._request(reader, state, furthest)

        result = await append_decided(decide, self._appender.offer)
        if result is not None and furthest is not None:
            self._settle(reader, furthest, result, moves=True)
            return furthest
        # These reads move nothing, so they have no guard and are never stale.
        results = [self._appender.offer(self._request(reader, state, read)) for read in reads]
        for read, future in zip(reads, results, strict=True):
            self._settle(reader, read, await future, moves=False)
        return None

    def _request(self, reader: tuple[str, str], state: ReaderState, read: _Read) -> AppendRequest:
        room_id, by = reader
        move = MoveReadMarker(room=room_id, message=read.message)
        events = [] if read.refusal is not None else read_marker.decide(state, move, by)
        return AppendRequest.of(
            self._serializer, reader_stream(room_id, by), events,
            user=by, ref=read.ref, fingerprint=read.fingerprint, decided_on=state.head,
            guard=read_marker.guard(by) if events else (), record=read.refusal is None,
        )  # fmt: skip

    def _settle(self, reader: tuple[str, str], read: _Read, result: AppendResult, *, moves: bool) -> None:
        error = failed(result.outcome, read.ref, read.refusal)
        if error is not None:
            _fail([read], error)
            return
        answer = result_of(result)
        if moves and result.outcome in ("appended", "known"):
            self._moved(*reader, read.message, answer.at)
        if not read.answer.done():
            read.answer.set_result(answer)


def _fail(reads: list[_Read], error: OnRecordError) -> None:
    for read in reads:
        if not read.answer.done():
            read.answer.set_exception(error)
