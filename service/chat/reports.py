"""Records reports of messages, and their resolutions.

Invariant: a user has at most one report under decision on this node, so that concurrent reports do not exceed the
limit of a day. Nodes do not wait for each other: a user who reports on several nodes at the same moment may exceed it
by one per node.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakValueDictionary

from service.chat.log_budget import BudgetedAppender
from service.chat.pending import key_for_writing
from service.chat.result import CommandResult, answered, attempt
from service.domain.commands import ReportMessage, ResolveReport, RoomCommand
from service.domain.events import Event
from service.domain.message import MessageSummary
from service.domain.report import (
    Quota,
    ReportState,
    decide_report,
    decide_resolution,
    guard,
    require_reader,
)
from service.domain.streams import report_id, report_stream
from service.eventstore.entries import AppendRequest, AppendResult, append_decided
from service.eventstore.reader import LogReader
from service.eventstore.report_reader import ReportReader
from service.eventstore.serializer import EventSerializer
from service.realtime.room_feeds import RoomFeeds

if TYPE_CHECKING:
    import asyncpg

    from service.errors import Refusal

Decide = Callable[[], Awaitable[tuple[ReportState, Callable[[], list[Event]]]]]
"""Reads what a decision depends on; returns the report, and a function that decides."""


class Reports:
    """Reports messages and resolves reports; a user may make `limit` reports in a day, `admins` see them."""

    def __init__(  # noqa: PLR0913 - the lower layers
        self,
        feeds: RoomFeeds,
        appender: BudgetedAppender,
        reader: LogReader,
        reports: ReportReader,
        serializer: EventSerializer,
        database: "asyncpg.Pool[Any]",
        *,
        now: Callable[[], datetime],
        limit: int,
        admins: bool,
    ) -> None:
        self._feeds = feeds
        self._appender = appender
        self._reader = reader
        self._reports = reports
        self._serializer = serializer
        self._keys = serializer.keys
        self._database = database
        self._now = now
        self._limit = limit
        self._admins = admins
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def report(self, command: ReportMessage, by: str, ref: str, sent: bytes) -> CommandResult:
        """Record a report; `sent` is what the client sent, which distinguishes a retry from another command.

        Raises:
            Refusal: see `decide_report`; RefConflict: the ref was used for another command.
            AccountErased, KeyUnreadable: the reason cannot be stored.
            Overloaded, Unavailable: the log cannot be reached; a retry is safe.
        """
        report = report_id(command.room, command.message, by)

        async def read() -> tuple[ReportState, Callable[[], list[Event]]]:
            state = (await self._feeds.refresh(command.room)).state
            if by not in state.members:  # outsiders learn nothing, also not from the time of the answer
                nothing = (state, MessageSummary(), ReportState(), Quota())
                return ReportState(), lambda: decide_report(*nothing, command, by, self._now())
            present = await self._reports.report(command.room, report)
            about = await self._reader.about(command.room, command.message, by)
            quota = Quota(await self._reports.wait(by, self._limit), self._admins)
            return present, lambda: decide_report(state, about, present, quota, command, by, self._now())

        async with self._turns.setdefault(by, asyncio.Lock()):
            return await self._append(command, report, read, by, ref, sent)

    async def resolve(self, command: ResolveReport, by: str, ref: str, sent: bytes) -> CommandResult:
        """Record a resolution by a moderator or an owner of the room.

        Raises:
            Refusal: see `require_reader` and `decide_resolution`; RefConflict: the ref was used for another command.
            AccountErased, KeyUnreadable: the note cannot be stored.
            Overloaded, Unavailable: the log cannot be reached; a retry is safe.
        """

        async def read() -> tuple[ReportState, Callable[[], list[Event]]]:
            state = (await self._feeds.refresh(command.room)).state
            present = await self._reports.report(command.room, command.report)

            def decide() -> list[Event]:
                require_reader(state, by, self._now())
                return decide_resolution(present, command, by)

            return present, decide

        return await self._append(command, command.report, read, by, ref, sent)

    async def resolve_as_admin(self, command: ResolveReport, by: str) -> CommandResult:
        """Record a resolution by an administrator, who need not be a member; repeating it changes nothing.

        Raises: as `resolve`.
        """

        async def read() -> tuple[ReportState, Callable[[], list[Event]]]:
            present = await self._reports.report(command.room, command.report)
            return present, lambda: decide_resolution(present, command, by)

        return await self._append(command, command.report, read, by, f"~{uuid4()}", b"")

    async def _append(
        self, command: RoomCommand, report: str, read: Decide, by: str, ref: str, sent: bytes
    ) -> CommandResult:
        refusal: Refusal | None = None
        fingerprint = self._keys.fingerprint(sent)

        async def decide() -> AppendRequest:
            nonlocal refusal
            key = await key_for_writing(self._keys, by, self._database) if command.has_words else None
            present, decision = await read()
            events, refusal = attempt(decision)
            return AppendRequest.of(
                self._serializer, report_stream(command.room), events,
                user=by, ref=ref, fingerprint=fingerprint, decided_on=present.head, guard=guard(report),
                key=key, record=refusal is None,
            )  # fmt: skip

        def must_retry(result: AppendResult) -> bool:
            if result.outcome == "key_gone":
                self._keys.forget(by)
            return result.outcome in ("stale", "key_gone")

        return answered(await append_decided(decide, self._appender.offer, must_retry), ref, refusal)
