"""Submit: decide on the room as this node knows it, append, and answer after the commit.

A command is decided without waiting, and queued in the order in which it came. Nothing is refused before its ref was
looked up, and nothing is refused on a state that may be old: a refusal travels through `chat_append` too, guarded like
a command, and is believed only when its guard holds.
"""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import msgspec

from service.domain import person, room
from service.domain.commands import NamePerson, PostMessage, RoomCommand
from service.domain.events import Event
from service.domain.streams import person_stream, room_of, room_stream
from service.errors import (
    MessageNotFound,
    NotAllowed,
    OnRecordError,
    Overloaded,
    RefConflict,
    Refusal,
    Unavailable,
)
from service.live.feed import Feed
from service.live.hub import Hub
from service.live.people import People
from service.log.append import Appender, Entry, Outcome, Placed
from service.log.keys import KeyRing, PersonKey
from service.log.mapper import Mapper
from service.log.read import LogReader

if TYPE_CHECKING:
    import asyncpg

MAX_DECISIONS = 8
"""How often a command is decided again because the room changed under it, before the sender is asked to retry."""

log = logging.getLogger("onrecord.chat")


class Receipt(msgspec.Struct, frozen=True):
    """What a recorded command is acknowledged with. `fresh` is False for a retry and for what changed nothing."""

    room: str
    seq: int
    at: datetime
    fresh: bool


class _Attempt(msgspec.Struct):
    command: RoomCommand
    by: str
    ref: str
    fingerprint: bytes
    key: PersonKey | None
    answer: "asyncio.Future[Receipt]"
    refusal: Refusal | None = None
    decisions: int = 0


class Chat:
    """Turns commands into events."""

    def __init__(
        self,
        hub: Hub,
        appender: Appender,
        reader: LogReader,
        people: People,
        keys: KeyRing,
        database: "asyncpg.Pool[Any]",
    ) -> None:
        self._hub = hub
        self._appender = appender
        self._reader = reader
        self._people = people
        self._keys = keys
        self._mapper = Mapper(keys)
        self._database = database
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, command: RoomCommand, by: str, ref: str, said: bytes) -> "asyncio.Future[Receipt]":
        """Queue a command; the future resolves after its commit, or raises the `OnRecordError` that refuses it.

        `said` is what the client sent, for telling a retry from another command under the same ref. This waits only
        where the room, the author's key or the message replied to have to be read first.

        Raises:
            Unavailable: the log cannot be read.
        """
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        key = await self._keys.of_person(by, self._database) if isinstance(command, PostMessage) else None
        feed = await self._hub.feed(command.room)
        refusal = await self._missing_reply(command, feed, by)
        attempt = _Attempt(command, by, ref, self._keys.fingerprint(said), key, answer, refusal)
        self._decide(attempt, feed)
        return answer

    async def name(self, user: str, name: str) -> None:
        """Record what a user is called, where that is news.

        Raises:
            Unavailable, Overloaded: the log cannot be reached.
        """
        if self._people.knows(user) and self._people.name_of(user) == name:
            return
        state = await self._reader.person(user)
        events = person.decide(state, NamePerson(name=name), user)
        if events:
            key = await self._keys.of_person(user, self._database)
            entry = self.entry(
                person_stream(user), user, f"~{uuid4()}", b"", state.head, person.guard(user), events, key
            )
            await self._appender.offer(entry)
        # A stale guard means that the same user was named on another node just now: either name is right.
        self._people.hear(user, name)

    def entry(
        self,
        stream: str,
        by: str,
        ref: str,
        fingerprint: bytes,
        decided_on: int,
        guard: tuple[str, ...],
        events: list[Event],
        key: PersonKey | None,
    ) -> Entry:
        """Return an entry for the appender, its events sealed."""
        return Entry(
            stream=stream,
            user=by,
            ref=ref,
            fingerprint=fingerprint,
            decided_on=decided_on,
            guard=guard,
            events=tuple(events),
            stored=tuple(self._mapper.to_stored(event, stream, key) for event in events),
        )

    async def _missing_reply(self, command: RoomCommand, feed: Feed, by: str) -> Refusal | None:
        """Return the refusal of a reply to what is no message of the room; outsiders are told nothing of that."""
        if not isinstance(command, PostMessage) or command.reply_to is None or by not in feed.state.members:
            return None
        if await self._hub.message_exists(command.room, command.reply_to):
            return None
        return MessageNotFound(room=feed.room, message=command.reply_to)

    def _decide(self, attempt: _Attempt, feed: Feed) -> None:
        command, by, state = attempt.command, attempt.by, feed.state
        refusal = attempt.refusal
        events: list[Event] = []
        try:
            events = room.decide(state, command, by) if refusal is None else []
        except Refusal as error:
            refusal = error
        entry = self.entry(
            room_stream(command.room), by, attempt.ref, attempt.fingerprint,
            state.head, room.guard(state, command, by), events, attempt.key,
        )  # fmt: skip
        if refusal is not None:
            entry = msgspec.structs.replace(entry, record=False)
        attempt.decisions += 1
        try:
            placing = self._appender.offer(entry)
        except Overloaded as error:
            attempt.answer.set_exception(error)
            return
        placing.add_done_callback(lambda placed: self._answer(attempt, refusal, placed))

    def _answer(self, attempt: _Attempt, refusal: Refusal | None, placing: "asyncio.Future[Placed]") -> None:
        if attempt.answer.done():
            return
        if (error := placing.exception()) is not None:
            attempt.answer.set_exception(error)
            return
        placed = placing.result()
        if placed.outcome == "stale" and attempt.decisions < MAX_DECISIONS:
            self._spawn(self._decide_again(attempt))
        elif (failure := failed(placed.outcome, attempt.ref, refusal)) is not None:
            if placed.outcome == "key_gone":
                self._keys.forget(attempt.by)
            attempt.answer.set_exception(failure)
        else:
            attempt.answer.set_result(receipt(placed))

    async def _decide_again(self, attempt: _Attempt) -> None:
        try:
            feed = await self._hub.refresh(attempt.command.room)
            attempt.refusal = await self._missing_reply(attempt.command, feed, attempt.by)
        except Exception:
            log.exception("refresh_failed", extra={"room": attempt.command.room})
            if not attempt.answer.done():
                attempt.answer.set_exception(Unavailable())
        else:
            self._decide(attempt, feed)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def failed(outcome: Outcome, ref: str, refusal: Refusal | None) -> OnRecordError | None:
    """Return the error that an outcome stands for, or None where the command was placed."""
    match outcome:
        case "appended" | "nothing" | "known":
            return None
        case "conflict":
            return RefConflict(ref=ref)
        case "key_gone":
            return NotAllowed(problem="The words of this account were erased; it cannot write any more.")
        case "refused" if refusal is not None:
            return refusal
        case _:
            return Overloaded()


def receipt(placed: Placed) -> Receipt:
    """Return what a placed command is acknowledged with."""
    return Receipt(
        room_of(placed.stream), placed.seq, cast("datetime", placed.at), placed.outcome == "appended"
    )
