"""Records the suspension and restoration of accounts.

This only decides and appends. Every node applies the recorded events (`service.gateway.notices.accounts`).

Invariant: a repeated suspension changes nothing.
"""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from service.chat.pending import key_for_writing
from service.domain import account
from service.domain.account import PersonState
from service.domain.commands import SetSuspension
from service.domain.streams import person_stream
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, AppendResult, append_decided
from service.eventstore.reader import LogReader
from service.eventstore.serializer import EventSerializer
from service.realtime.user_cache import UserCache

if TYPE_CHECKING:
    import asyncpg


class AccountSuspensions:
    """Suspends and restores accounts."""

    def __init__(
        self,
        people: UserCache,
        appender: Appender,
        reader: LogReader,
        serializer: EventSerializer,
        database: "asyncpg.Pool[Any]",
    ) -> None:
        self._people = people
        self._appender = appender
        self._reader = reader
        self._serializer = serializer
        self._keys = serializer.keys
        self._database = database

    async def set_suspension(self, command: SetSuspension, by: str) -> None:
        """Suspend or restore an account.

        Raises:
            AccountErased: the account is erased.
            Overloaded, Unavailable: the log cannot be reached; a retry is safe.
        """
        user, state = command.user, PersonState()

        async def decide() -> AppendRequest | None:
            nonlocal state
            key = await key_for_writing(self._keys, by, self._database) if command.reason else None
            state = await self._reader.person(user)
            events = account.decide_suspension(state, command)
            if not events:
                return None
            return AppendRequest.of(
                self._serializer, person_stream(user), events,
                user=by, ref=f"~{uuid4()}", decided_on=state.head, guard=account.GUARD, key=key,
            )  # fmt: skip

        def must_retry(result: AppendResult) -> bool:
            if result.outcome == "key_gone":
                self._keys.forget(by)
            return result.outcome != "appended"

        result = await append_decided(decide, self._appender.offer, must_retry)
        if result is not None:
            changed = msgspec.structs.replace(state, head=result.seq, suspended=command.suspended)
            self._people.update(user, changed)
