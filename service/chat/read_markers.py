"""Records read markers, and where users' own unread counts begin: `message:read` and `message:unread`.

The first read of a burst is recorded at once. Those of the next second wait, and the furthest of them is recorded. Each
`message:read` is acknowledged after the commit of a marker at or past its message, and its ref is recorded too, so that
a retry gets the same answer. A `message:unread` waits in the same queue, and is recorded between the reads before and
after it: a read that was sent before it does not undo it.

Invariant: a reader (a user in a room) has at most one commit under way on this node. Between nodes, the guard on the
reader's stream keeps the moves in order.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import cast

import msgspec

from service.chat.log_budget import BudgetedAppender
from service.chat.result import CommandResult, failed, result_of
from service.domain import read_marker, room
from service.domain.commands import MarkUnread, MoveReadMarker
from service.domain.events import Event
from service.domain.message import require_countable
from service.domain.read_marker import ReaderState
from service.domain.room import RoomState
from service.domain.streams import reader_stream
from service.errors import MessageNotFound, OnRecordError, Overloaded, Refusal, Unavailable
from service.eventstore.entries import AppendRequest, AppendResult, append_decided
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from service.realtime.room_feeds import RoomFeeds

INTERVAL = 1.0
"""Seconds between two recorded moves of one reader."""

MAX_WAITING = 200
"""Moves of one reader that may wait for the next commit; further ones are answered `overloaded`."""

log = logging.getLogger("onrecord.markers")


class _Move(msgspec.Struct, frozen=True):
    command: MoveReadMarker | MarkUnread
    ref: str
    fingerprint: bytes
    refusal: Refusal | None
    answer: "asyncio.Future[CommandResult]"


Moved = Callable[[str, Event, int, datetime], None]
"""Takes the room, the event, its seq in the reader's stream, and its time."""


class ReadMarkers:
    """Turns `message:read` and `message:unread` into moves of markers; `moved` is called after the commit of each."""

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
        # By reader, the moves that are not recorded yet; a burst ends after a second without any.
        self._bursts: dict[tuple[str, str], list[_Move]] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def move(
        self, command: MoveReadMarker | MarkUnread, by: str, ref: str, sent: bytes
    ) -> "asyncio.Future[CommandResult]":
        """Queue a move; the future resolves after its commit, or of a read past it, or raises `OnRecordError`.

        `sent` is what the client sent: it distinguishes a retry from another command under the same ref.

        Raises:
            Unavailable: the log cannot be read.
            Overloaded: `MAX_WAITING` moves of this reader wait already.
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
        waiting.append(_Move(command, ref, self._serializer.keys.fingerprint(sent), refusal, answer))
        return answer

    async def close(self) -> None:
        """Stop; moves that wait are answered `unavailable`."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _refusal(self, command: MoveReadMarker | MarkUnread, by: str) -> Refusal | None:
        room_id, message = command.room, command.message
        try:
            state = await self._state_of_member(room_id, by)
            if isinstance(command, MarkUnread):
                about = await self._reader.about(room_id, message, by, with_content=True, of_others=True)
                require_countable(state, command, by, self._now(), about)
            elif not await self._feeds.message_exists(room_id, message):
                return MessageNotFound(room=room_id, message=message)
        except Refusal as refusal:
            return refusal
        return None

    async def _state_of_member(self, room_id: str, by: str) -> RoomState:
        """Return the state of a room, by the log if it has changed at another node.

        Raises:
            Refusal: the user is not a member.
        """
        try:
            room.require_member(state := (await self._feeds.feed(room_id)).state, by, self._now())
        except Refusal:
            room.require_member(state := (await self._feeds.refresh(room_id)).state, by, self._now())
        return state

    async def _run(self, reader: tuple[str, str]) -> None:
        moves: list[_Move] = []
        try:
            while self._bursts[reader]:
                moves, self._bursts[reader] = self._bursts[reader], []
                await self._record(reader, moves)
                await asyncio.sleep(INTERVAL)
        finally:
            # There is no await after the last check of the burst, so no move is left in one that has ended.
            del self._tasks[reader]
            _fail([*moves, *self._bursts.pop(reader)], Unavailable())

    async def _record(self, reader: tuple[str, str], moves: list[_Move]) -> None:
        try:
            for part in _parts(moves):
                rest = part
                while (recorded := await self._append_furthest(reader, rest)) is not None:
                    rest = [move for move in rest if move is not recorded]
        except OnRecordError as error:
            _fail(moves, error)
        except Exception:
            log.exception("marker_failed")
            _fail(moves, Unavailable())

    async def _append_furthest(self, reader: tuple[str, str], moves: list[_Move]) -> _Move | None:
        """Append the furthest move that changes something and return it; if none does, append all and return None.

        The furthest is appended alone, because the others are answered only once a marker at or past theirs is on the
        record.
        """
        state, furthest = ReaderState(), None

        async def decide() -> AppendRequest | None:
            nonlocal state, furthest
            state = await self._reader.reader(*reader)
            changing = [move for move in moves if self._events(reader, state, move)]
            furthest = max(changing, key=lambda move: move.command.message, default=None)
            return None if furthest is None else self._request(reader, state, furthest)

        result = await append_decided(decide, self._appender.offer)
        if result is not None and furthest is not None:
            self._settle(furthest, result)
            # A retry of an earlier command moves nothing now.
            if result.outcome in ("appended", "known") and result.seq > state.head:
                (event,) = self._events(reader, state, furthest)
                self._moved(reader[0], event, result.seq, cast("datetime", result.at))
            return furthest
        # These moves change nothing, so they have no guard and are never stale.
        results = [self._appender.offer(self._request(reader, state, move)) for move in moves]
        for move, future in zip(moves, results, strict=True):
            self._settle(move, await future)
        return None

    @staticmethod
    def _events(reader: tuple[str, str], state: ReaderState, move: _Move) -> list[Event]:
        return read_marker.decide(state, move.command, reader[1]) if move.refusal is None else []

    def _request(self, reader: tuple[str, str], state: ReaderState, move: _Move) -> AppendRequest:
        room_id, by = reader
        events = self._events(reader, state, move)
        return AppendRequest.of(
            self._serializer, reader_stream(room_id, by), events,
            user=by, ref=move.ref, fingerprint=move.fingerprint, decided_on=state.head,
            guard=read_marker.guard(by) if events else (), record=move.refusal is None,
        )  # fmt: skip

    @staticmethod
    def _settle(move: _Move, result: AppendResult) -> None:
        error = failed(result.outcome, move.ref, move.refusal)
        if error is not None:
            _fail([move], error)
        elif not move.answer.done():
            move.answer.set_result(result_of(result))


def _parts(moves: list[_Move]) -> list[list[_Move]]:
    """Return the moves in parts that are recorded one after the other: consecutive reads together, others alone."""
    parts: list[list[_Move]] = []
    for move in moves:
        if (
            parts
            and isinstance(parts[-1][-1].command, MoveReadMarker)
            and isinstance(move.command, MoveReadMarker)
        ):
            parts[-1].append(move)
        else:
            parts.append([move])
    return parts


def _fail(moves: list[_Move], error: OnRecordError) -> None:
    for move in moves:
        if not move.answer.done():
            move.answer.set_exception(error)
