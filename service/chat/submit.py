"""Submit: decide on the room as this node knows it, append, and answer after the commit.

A command is decided without waiting, and queued in the order in which it came. Nothing is refused before its ref was
looked up, and nothing is refused on a state that may be old: a refusal travels through `chat_append` too, guarded like
a command, and is believed only when its guard holds.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from cryptography.exceptions import InvalidTag

from service.chat.command_locks import CommandLocks
from service.chat.result import CommandResult, failed, result_of
from service.domain import account, room
from service.domain.account import PersonState
from service.domain.commands import (
    EditMessage,
    LeaveRoom,
    MessageCommand,
    NamePerson,
    PostMessage,
    RoomCommand,
)
from service.domain.content_policy import check_content
from service.domain.events import Event
from service.domain.message import MessageState
from service.domain.retention import scope_of
from service.domain.streams import person_stream, room_stream
from service.encryption.keyring import KeyRing, PersonKey
from service.errors import (
    AccountErased,
    KeyUnreadable,
    MessageNotFound,
    Overloaded,
    Refusal,
    Unavailable,
)
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, AppendResult
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from service.realtime.room_feed import RoomFeed
from service.realtime.room_feeds import RoomFeeds
from service.realtime.user_cache import UserCache

if TYPE_CHECKING:
    import asyncpg

MAX_DECISIONS = 32
"""How often a command is decided because the room changed under it, before the sender is asked to retry.

Those that change the same take turns on this node (`lines`), so it is other nodes that come in between: of two that
contend for one message, each gets in half of the times.
"""

log = logging.getLogger("onrecord.chat")


class _Pending(msgspec.Struct):
    command: RoomCommand
    by: str
    ref: str
    fingerprint: bytes
    answer: "asyncio.Future[CommandResult]"
    unfit: Refusal | None
    """Why it is refused whatever the room is like."""
    key: PersonKey | None = None
    scope: str | None = None
    """What the key is for; None before there is one."""
    at: datetime | None = None
    """The log's time when the command was last found stale; None before."""
    decisions: int = 0


class _Context(msgspec.Struct, frozen=True):
    """What was read of the log for a decision, beside the room's state: as of `head` or later."""

    head: int
    about: MessageState = room.NO_MESSAGE
    refusal: Refusal | None = None


async def key_of(keys: KeyRing, person: str, database: "asyncpg.Pool[Any]", scope: str = "") -> PersonKey:
    """Return a key of a person, to write with.

    Raises:
        AccountErased: it is destroyed.
        KeyUnreadable: it is damaged.
        Unavailable: the log cannot be read.
    """
    try:
        return await keys.of_person(person, database, scope)
    except InvalidTag as error:
        raise KeyUnreadable from error


class Chat:
    """Turns commands into events. `now` tells the database's time, `max_content` is in code points."""

    def __init__(
        self,
        feeds: RoomFeeds,
        appender: Appender,
        reader: LogReader,
        people: UserCache,
        keys: KeyRing,
        database: "asyncpg.Pool[Any]",
        *,
        now: Callable[[], datetime],
        max_content: int,
    ) -> None:
        self._feeds = feeds
        self._appender = appender
        self._reader = reader
        self._people = people
        self._keys = keys
        self._serializer = EventSerializer(keys)
        self._database = database
        self._now = now
        self._max_content = max_content
        self._lines = CommandLocks()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(
        self, command: RoomCommand, by: str, ref: str, said: bytes
    ) -> "asyncio.Future[CommandResult]":
        """Queue a command; the future resolves after its commit, or raises the `OnRecordError` that refuses it.

        `said` is what the client sent, for telling a retry from another command under the same ref. This waits only
        where the room, the author's key or the message that it is about have to be read first.

        Raises:
            AccountErased: whoever sent it is erased.
            Unavailable: the log cannot be read.
        """
        answer: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        attempt = _Pending(
            command, by, ref, self._keys.fingerprint(said), answer, self._content_error(command)
        )
        if self._lines.busy(command):
            self._spawn(self._decide_again(attempt))
            return answer
        feed = await self._feeds.feed(command.room)
        await self._take_key(attempt, feed)
        self._decide(attempt, feed, await self._load_context(attempt, feed))
        return answer

    async def name(self, user: str, name: str) -> None:
        """Record what a user is called, where that is news.

        Raises:
            Unavailable, Overloaded: the log cannot be reached.
        """
        if self._people.standing(user).name == name:
            return
        state = await self._person(user)
        events = account.decide(state, NamePerson(name=name), user)
        if events:
            try:
                key = await self._keys.of_person(user, self._database)
            except InvalidTag:  # which the keys log: they come in all the same, under the name that is known
                self._people.hear(user, state)
                return
            entry = self.entry(
                person_stream(user), user, f"~{uuid4()}", b"", state.head, account.guard(user), events, key
            )
            placed = await self._appender.offer(entry)
            if placed.outcome == "key_gone":
                self._keys.forget(user)  # erased, or under another key from the next visit on
            if placed.outcome != "appended":
                # The same user was named, or erased, on another node just now: that is right, too.
                state = await self._person(user)
            else:
                state = msgspec.structs.replace(state, head=placed.seq, name=name)
        self._people.hear(user, state)

    async def _person(self, user: str) -> PersonState:
        await self._people.read({user})  # a crowd that is new here is asked about at once
        return self._people.standing(user)

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
    ) -> AppendRequest:
        """Return an entry for the appender, its events sealed."""
        return AppendRequest(
            stream=stream,
            user=by,
            ref=ref,
            fingerprint=fingerprint,
            decided_on=decided_on,
            guard=guard,
            events=tuple(events),
            stored=tuple(self._serializer.to_stored(event, stream, key) for event in events),
        )

    def _content_error(self, command: RoomCommand) -> Refusal | None:
        """Return the refusal of words that no room takes."""
        try:
            if isinstance(command, PostMessage | EditMessage):
                check_content(command.content, self._max_content)
        except Refusal as refusal:
            return refusal
        return None

    async def _load_context(self, attempt: _Pending, feed: RoomFeed) -> _Context:
        """Read what a command is about; for outsiders nothing, since they are told nothing of it."""
        command, head = attempt.command, feed.head
        if attempt.unfit is not None or attempt.by not in feed.state.members:
            return _Context(head)
        if isinstance(command, MessageCommand):
            return _Context(head, await self._reader.about(command.room, command.message))
        reply_to = command.reply_to if isinstance(command, PostMessage) else None
        if reply_to is None or await self._feeds.message_exists(command.room, reply_to):
            return _Context(head)
        return _Context(head, refusal=MessageNotFound(room=feed.room, message=reply_to))

    async def _take_key(self, attempt: _Pending, feed: RoomFeed) -> None:
        """Take the key that a command's words are sealed with in this room, as of the moment when this returns."""
        command = attempt.command
        # The log's own time where it is known: near midnight, this node's clock may still show the day before.
        while (
            command.has_words
            and (scope := scope_of(feed.state, command, attempt.at or self._now())) != attempt.scope
        ):
            attempt.key = await key_of(self._keys, attempt.by, self._database, scope)
            attempt.scope = scope

    def _decide(
        self, attempt: _Pending, feed: RoomFeed, sight: _Context
    ) -> "asyncio.Future[AppendResult] | None":
        """Decide and queue; return what tells where it is placed, None where the queue is full."""
        command, by, state = attempt.command, attempt.by, feed.state
        refusal = attempt.unfit or sight.refusal
        events: list[Event] = []
        try:
            if refusal is None:
                events = room.decide(state, command, by, self._now(), sight.about)
        except Refusal as error:
            refusal = error
        # The state may have moved on while the message was read: what was read holds as of the older of the two.
        guard = () if attempt.unfit else room.guard(state, command, by)
        entry = self.entry(
            room_stream(command.room), by, attempt.ref, attempt.fingerprint,
            min(sight.head, state.head), guard, events, attempt.key,
        )  # fmt: skip
        if refusal is not None:
            entry = msgspec.structs.replace(entry, record=False)
        attempt.decisions += 1
        try:
            placing = self._appender.offer(entry)
        except Overloaded as error:
            attempt.answer.set_exception(error)
            return None
        placing.add_done_callback(lambda placed: self._answer(attempt, refusal, placed))
        return placing

    def _answer(
        self, attempt: _Pending, refusal: Refusal | None, placing: "asyncio.Future[AppendResult]"
    ) -> None:
        if attempt.answer.done():
            return
        if (error := placing.exception()) is not None:
            attempt.answer.set_exception(error)
            return
        placed = placing.result()
        if placed.outcome == "key_gone":
            self._keys.forget(attempt.by)
        gone = placed.outcome == "key_gone" and attempt.key is not None  # erased, or there is another since
        if (placed.outcome == "stale" or gone) and attempt.decisions < MAX_DECISIONS:
            attempt.scope = None if gone else attempt.scope
            attempt.at = placed.at
            self._spawn(self._decide_again(attempt))
        elif (failure := failed(placed.outcome, attempt.ref, refusal)) is not None:
            attempt.answer.set_exception(failure)
        elif isinstance(attempt.command, LeaveRoom) and placed.outcome != "appended":
            self._spawn(self._answer_leave(attempt, placed))
        else:
            attempt.answer.set_result(result_of(placed))

    async def _answer_leave(self, attempt: _Pending, placed: AppendResult) -> None:
        """Answer a leave that changed nothing: the room's present seq is for members; the others see their own last."""
        command, answer = attempt.command, result_of(placed)
        try:
            state = (await self._feeds.feed_up_to(command.room, answer.seq)).state
            if (left := state.left.get(attempt.by, answer.seq)) < answer.seq:
                last = await self._reader.stream(room_stream(command.room), answer.seq - 1, 1, answer.seq)
                own = any(recorded.by == attempt.by for recorded in last)  # an invitation was declined later
                answer = answer if own else msgspec.structs.replace(answer, seq=left)
        except Unavailable as error:
            if not attempt.answer.done():
                attempt.answer.set_exception(error)
            return
        if not attempt.answer.done():
            attempt.answer.set_result(answer)

    async def _decide_again(self, attempt: _Pending) -> None:
        async with self._lines.turn(attempt.command):
            placing = await self._decided_anew(attempt)
            if placing is not None:
                await asyncio.wait([placing])

    async def _decided_anew(self, attempt: _Pending) -> "asyncio.Future[AppendResult] | None":
        """Decide on the log as it is now; whatever is in the way is the answer."""
        try:
            feed = await self._feeds.refresh(attempt.command.room)
            await self._take_key(attempt, feed)
            sight = await self._load_context(attempt, feed)
        except AccountErased as error:
            if not attempt.answer.done():
                attempt.answer.set_exception(error)
        except Exception as error:
            if not isinstance(error, Unavailable):  # of which the log's reader has told already
                log.exception("refresh_failed", extra={"room": attempt.command.room})
            if not attempt.answer.done():
                attempt.answer.set_exception(error if isinstance(error, Unavailable) else Unavailable())
        else:
            return self._decide(attempt, feed, sight)
        return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
