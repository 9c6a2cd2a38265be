"""Read markers: they only move forward, and a burst of them becomes one event a second.

The first marker of a burst commits at once; those that come within the next second wait, and the furthest of them is
recorded. Every `message:read` is acknowledged after the commit of a marker at or past its own, and its ref is
recorded with it, so that a retry is answered as the first time.

The rule: per reader at most one commit is under way, so two markers of one user never race on this node; between nodes
the guard on the reader's stream keeps them in order.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from service.chat.result import CommandResult, failed, result_of
from service.chat.submit import Chat
from service.domain import read_marker, room
from service.domain.commands import MoveReadMarker
from service.domain.read_marker import ReaderState
from service.domain.streams import reader_stream
from service.encryption.keyring import KeyRing
from service.errors import MessageNotFound, OnRecordError, Overloaded, Refusal, Unavailable
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, AppendResult
from service.eventstore.reader import LogReader
from service.realtime.room_feeds import RoomFeeds

INTERVAL = 1.0
"""Seconds between two recorded moves of one reader."""

MAX_WAITING = 200
"""Reads of one reader that wait for the next commit; past that they are answered `overloaded`."""

MAX_DECISIONS = 8

log = logging.getLogger("onrecord.markers")


class _Wish(msgspec.Struct, frozen=True):
    message: int
    ref: str
    fingerprint: bytes
    refusal: Refusal | None
    answer: "asyncio.Future[CommandResult]"


class _Burst:
    """One reader's reads that are not recorded yet; it lives until a second has passed without any."""

    def __init__(self) -> None:
        self.waiting: list[_Wish] = []
        self.wake = asyncio.Event()


Moved = Callable[[str, str, int, datetime], None]


class ReadMarkers:
    """Turns `message:read` into marker moves. `moved(room, user, message, at)` is called after each commit of one."""

    def __init__(
        self,
        chat: Chat,
        feeds: RoomFeeds,
        appender: Appender,
        log_reader: LogReader,
        keys: KeyRing,
        moved: Moved,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._chat = chat
        self._feeds = feeds
        self._appender = appender
        self._reader = log_reader
        self._keys = keys
        self._moved = moved
        self._bursts: dict[tuple[str, str], _Burst] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def move(
        self, command: MoveReadMarker, by: str, ref: str, said: bytes
    ) -> "asyncio.Future[CommandResult]":
        """Queue a read; the future resolves after the commit of a marker at or past it, or raises `OnRecordError`.

        Raises:
            Unavailable: the log cannot be read.
            Overloaded: too many reads of this reader wait already.
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
        burst.waiting.append(_Wish(command.message, ref, self._keys.fingerprint(said), refusal, answer))
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
        """Refuse outsiders, though not on a state that another node may have outdated."""
        try:
            room.require_member((await self._feeds.feed(room_id)).state, by, self._now())
        except Refusal:
            room.require_member((await self._feeds.refresh(room_id)).state, by, self._now())

    async def _run(self, name: tuple[str, str], burst: _Burst) -> None:
        wishes: list[_Wish] = []
        try:
            while burst.waiting:
                wishes, burst.waiting = burst.waiting, []
                burst.wake.clear()
                await self._record(name, wishes)
                await asyncio.sleep(INTERVAL)
        finally:
            # Without an await after the last look at `waiting`, so no read is left behind in a burst that has ended.
            del self._bursts[name]
            del self._tasks[name]
            _fail([*wishes, *burst.waiting], Unavailable())

    async def _record(self, name: tuple[str, str], wishes: list[_Wish]) -> None:
        try:
            for _ in range(MAX_DECISIONS):
                wishes = await self._offer(name, wishes)
                if not wishes:
                    return
            _fail(wishes, Overloaded())
        except OnRecordError as error:
            _fail(wishes, error)
        except Exception:
            log.exception("marker_failed")
            _fail(wishes, Unavailable())

    async def _offer(self, name: tuple[str, str], wishes: list[_Wish]) -> list[_Wish]:
        """Record the furthest read, or where none moves the marker all of them; return those still to be decided.

        The furthest goes alone: the others are answered only once a marker at or past theirs is on the record.
        """
        room_id, by = name
        state = await self._reader.reader(room_id, by)
        ahead = [wish for wish in wishes if wish.refusal is None and wish.message > state.marker]
        chosen = [max(ahead, key=lambda wish: wish.message)] if ahead else wishes
        placing = [self._appender.offer(self._entry(name, state, wish)) for wish in chosen]
        again = [wish for wish in wishes if wish not in chosen]
        for wish, future in zip(chosen, placing, strict=True):
            placed = await future
            if placed.outcome == "stale":
                again.append(wish)
            else:
                self._settle(name, wish, bool(ahead), placed)
        return again

    def _entry(self, name: tuple[str, str], state: ReaderState, wish: _Wish) -> AppendRequest:
        room_id, by = name
        refused = wish.refusal is not None
        events = (
            []
            if refused
            else read_marker.decide(state, MoveReadMarker(room=room_id, message=wish.message), by)
        )
        entry = self._chat.entry(
            reader_stream(room_id, by), by, wish.ref, wish.fingerprint,
            state.head, read_marker.guard(by) if events else (), events, None,
        )  # fmt: skip
        return msgspec.structs.replace(entry, record=not refused)

    def _settle(self, name: tuple[str, str], wish: _Wish, moves: bool, placed: AppendResult) -> None:  # noqa: FBT001 - private
        error = failed(placed.outcome, wish.ref, wish.refusal)
        if error is not None:
            _fail([wish], error)
            return
        answer: Any = result_of(placed)
        if moves and placed.outcome in ("appended", "known"):
            self._moved(*name, wish.message, answer.at)
        if not wish.answer.done():
            wish.answer.set_result(answer)


def _fail(wishes: list[_Wish], error: OnRecordError) -> None:
    for wish in wishes:
        if not wish.answer.done():
            wish.answer.set_exception(error)
