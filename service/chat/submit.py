"""Submits commands: decides on the room as this node knows it, appends, and answers after the commit.

A command is decided without waiting, and queued in the order of arrival. A refusal is sent to `chat_append` too. There
its ref is looked up first, so that a retry gets the answer of the first try, and it is final only if its guard holds,
so that no command is refused on an outdated state.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from service.chat.blocks import Blocks
from service.chat.command_locks import CommandLocks
from service.chat.log_budget import BudgetedAppender
from service.chat.pending import (
    Answer,
    DecisionContext,
    Limits,
    PendingCommand,
    content_error,
    key_for_writing,
)
from service.chat.result import CommandResult, dropped_mentions, failed, result_of
from service.domain import room
from service.domain.commands import (
    EditMessage,
    LeaveRoom,
    MessageCommand,
    PostMessage,
    RoomCommand,
)
from service.domain.retention import scope_of
from service.domain.streams import room_stream
from service.encryption.keyring import KeyRing
from service.errors import (
    AccountErased,
    MessageNotFound,
    OnRecordError,
    Overloaded,
    Refusal,
    TooManyRequests,
    Unavailable,
)
from service.eventstore.appender import resolve
from service.eventstore.entries import AppendRequest, AppendResult, append_decided
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from service.realtime.room_feed import RoomFeed
from service.realtime.room_feeds import RoomFeeds
from service.realtime.user_cache import UserCache
from service.runtime.supervise import start_task

if TYPE_CHECKING:
    import asyncpg

    from service.domain.events import Event

MAX_DECISIONS = 32
"""How often a command is decided before the sender is asked to retry.

Commands on the same subject take turns on this node (`CommandLocks`), so conflicts come from other nodes: of two nodes
that contend for one message, each succeeds half of the time. A command keeps its turn for all its decisions.
"""

log = logging.getLogger("onrecord.chat")


class Chat:
    """Turns commands into events. `now` returns the database's time.

    With `invite_only`, people who are added to a room are invited instead.
    """

    def __init__(  # noqa: PLR0913 - the parts of a node that a command passes
        self,
        feeds: RoomFeeds,
        appender: BudgetedAppender,
        reader: LogReader,
        people: UserCache,
        keys: KeyRing,
        database: "asyncpg.Pool[Any]",
        *,
        now: Callable[[], datetime],
        limits: Limits,
        invite_only: bool = False,
    ) -> None:
        self._feeds = feeds
        self._appender = appender
        self._reader = reader
        self._people = people
        self._keys = keys
        self._serializer = EventSerializer(keys)
        self._database = database
        self._now = now
        self._limits = limits
        self.blocks = Blocks(people, invite_only=invite_only)
        self._locks = CommandLocks()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(
        self, command: RoomCommand, by: str, ref: str, sent: bytes, refusal: Refusal | None = None
    ) -> "asyncio.Future[CommandResult]":
        """Queue a command; the future resolves after its commit, or raises the `OnRecordError` that refuses it.

        `sent` is what the client sent: it distinguishes a retry from another command under the same ref. `refusal`
        refuses the command unless it is a retry. This waits only where the room, the author's key, the message that the
        command is about or an account that it concerns has to be read first.

        Raises:
            AccountErased: the sender is erased.
            Unavailable: the log cannot be read.
        """
        answer: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        pending = self._pending(command, by, ref, sent, partial(resolve, answer))
        pending.awaited, pending.content_error = answer, refusal or pending.content_error
        if self._locks.busy(command):
            self._spawn(self._decide_in_turn(pending))
            return answer
        feed = await self._feeds.feed(command.room)
        await self._take_key(pending, feed)
        request = self._decide(pending, feed, await self._load_context(pending, feed))
        try:
            self._appender.place(request, partial(self._on_first_result, pending))
        except Overloaded as error:
            answer.set_exception(error)
        return answer

    def post(self, command: PostMessage, by: str, sent: bytes, answer: Answer) -> bool:
        """Queue a message if nothing has to be read for its decision and nothing refuses it; return whether it was.

        Where this returns False it has done nothing, and `submit` takes the command. `answer` is called after the
        commit. The ref is that of the command.
        """
        feed = self._feeds.in_memory(command.room)
        if feed is None or by not in feed.state.members:
            return False
        if command.reply_to is not None and not feed.is_message(command.reply_to):
            return False
        scope = scope_of(feed.state, command, self._now())
        key = self._keys.known(by, scope)
        if key is None or self.blocks.unknown(feed.state, command, by):
            return False
        pending = self._pending(command, by, command.ref, sent, answer)
        pending.key, pending.scope = key, scope
        request = self._decide(pending, feed, DecisionContext(feed.head))
        if pending.refusal is not None:
            return False
        try:
            self._appender.place(request, partial(self._on_first_result, pending))
        except Overloaded:
            return False
        return True

    def _pending(
        self, command: RoomCommand, by: str, ref: str, sent: bytes, answer: Answer
    ) -> PendingCommand:
        wrong = content_error(command, self._limits.max_content)
        return PendingCommand(command, by, ref, self._keys.fingerprint(sent), answer, wrong)

    async def _load_context(self, pending: PendingCommand, feed: RoomFeed) -> DecisionContext:
        """Read what a command is about; nothing for outsiders, who may learn nothing of the room."""
        command, head = pending.command, feed.head
        if pending.content_error is not None:
            return DecisionContext(head)
        if unknown := self.blocks.unknown(feed.state, command, pending.by):
            await self._people.load(unknown)
        if pending.by not in feed.state.members:
            return DecisionContext(head)
        if isinstance(command, MessageCommand):
            edits = isinstance(command, EditMessage)
            about = await self._reader.about(command.room, command.message, pending.by, with_content=edits)
            return DecisionContext(head, msgspec.structs.replace(about, max_edits=self._limits.max_edits))
        reply_to = command.reply_to if isinstance(command, PostMessage) else None
        if reply_to is None or await self._feeds.message_exists(command.room, reply_to):
            return DecisionContext(head)
        return DecisionContext(head, refusal=MessageNotFound(room=feed.room, message=reply_to))

    async def _take_key(self, pending: PendingCommand, feed: RoomFeed) -> None:
        """Load the key for a command's content; its scope (room and day) is current when this returns."""
        command = pending.command
        # The log's own time where it is known: near midnight, this node's clock may still show the day before.
        while (
            command.has_words
            and (scope := scope_of(feed.state, command, pending.at or self._now())) != pending.scope
        ):
            pending.key = await key_for_writing(self._keys, pending.by, self._database, scope)
            pending.scope = scope

    def _decide(self, pending: PendingCommand, feed: RoomFeed, context: DecisionContext) -> AppendRequest:
        command, by, state = pending.command, pending.by, feed.state
        refusal = pending.content_error or context.refusal
        events: list[Event] = []
        try:
            if refusal is None:
                effective = self.blocks.apply(state, command, by)
                events = room.decide(state, effective, by, self._now(), context.about)
        except Refusal as error:
            refusal = error
        pending.refusal, pending.events = refusal, events
        pending.decisions += 1
        # The state may have moved on while the message was read: the decision holds as of the older of the two.
        return AppendRequest.of(
            self._serializer, room_stream(command.room), events,
            user=by, ref=pending.ref, fingerprint=pending.fingerprint,
            decided_on=min(context.head, state.head),
            guard=() if pending.content_error else room.guard(state, command, by),
            key=pending.key, record=refusal is None,
        )  # fmt: skip

    def _on_first_result(self, pending: PendingCommand, result: AppendResult | OnRecordError) -> None:
        if isinstance(result, OnRecordError):
            pending.answer(result)
        elif result.outcome != "appended" and self._must_retry(pending, result):
            self._spawn(self._decide_in_turn(pending))
        else:
            self._answer(pending, result)

    def _must_retry(self, pending: PendingCommand, result: AppendResult) -> bool:
        """Return whether a command is decided again; note what the next decision needs."""
        if pending.abandoned:
            return False
        key_gone = result.outcome == "key_gone"
        if key_gone:
            self._keys.forget(pending.by)
        if key_gone and pending.key is not None:  # the author is erased, or has another key since
            pending.scope = None
        elif result.outcome != "stale":
            return False
        pending.at = result.at
        # After the last decision, this result is the answer: `NotAllowed` if the key is gone.
        return pending.decisions < MAX_DECISIONS

    async def _decide_in_turn(self, pending: PendingCommand) -> None:
        """Decide on the log as it is now, one command on a subject at a time, until the result is final."""
        async with self._locks.turn(pending.command):
            try:
                result = await append_decided(
                    partial(self._decide_on_refreshed, pending),
                    self._appender.offer,
                    partial(self._must_retry, pending),
                    tries=MAX_DECISIONS,
                )
            except (AccountErased, Overloaded, TooManyRequests, Unavailable) as error:
                pending.answer(error)
            except Exception:
                log.exception("refresh_failed", extra={"room": pending.command.room})
                pending.answer(Unavailable())
            else:
                if result is not None:
                    self._answer(pending, result)

    async def _decide_on_refreshed(self, pending: PendingCommand) -> AppendRequest:
        feed = await self._feeds.refresh(pending.command.room)
        await self._take_key(pending, feed)
        return self._decide(pending, feed, await self._load_context(pending, feed))

    def _answer(self, pending: PendingCommand, result: AppendResult) -> None:
        if (failure := failed(result.outcome, pending.ref, pending.refusal)) is not None:
            pending.answer(failure)
        elif isinstance(pending.command, LeaveRoom) and result.outcome != "appended":
            self._spawn(self._answer_leave(pending, result))
        elif result.outcome == "known" and getattr(pending.command, "mentions", False):
            self._spawn(self._answer_retry(pending, result))
        else:
            posted = next(iter(pending.events), None)
            pending.answer(result_of(result, dropped_mentions(pending.command, posted)))

    async def _answer_retry(self, pending: PendingCommand, result: AppendResult) -> None:
        """Answer the retry of a post as its first try was answered, by the message that is on the record."""
        try:
            posted = await self._reader.message(pending.command.room, result.seq)
        except Unavailable as error:
            pending.answer(error)
        else:
            pending.answer(
                result_of(result, dropped_mentions(pending.command, posted.event if posted else None))
            )

    async def _answer_leave(self, pending: PendingCommand, result: AppendResult) -> None:
        """Answer a leave that changed nothing with the seq at which the user left, or that of `result`."""
        command, answer = pending.command, result_of(result)
        try:
            state = (await self._feeds.feed_up_to(command.room, answer.seq)).state
            if (left := state.left.get(pending.by, answer.seq)) < answer.seq:
                last = await self._reader.stream(room_stream(command.room), answer.seq - 1, 1, answer.seq)
                own = any(recorded.by == pending.by for recorded in last)  # an invitation was declined later
                answer = answer if own else msgspec.structs.replace(answer, seq=left)
        except Unavailable as error:
            pending.answer(error)
        else:
            pending.answer(answer)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        start_task("command", work, self._tasks)
