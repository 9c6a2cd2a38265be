"""Suspending people and letting them come back, on the record.

Every node acts on what is recorded (`service.gateway.notices.accounts`), so nothing is done here but to decide and
append.

The rule: done twice is done once.
"""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from service.chat.submit import Chat, key_of
from service.domain import account
from service.domain.commands import SetSuspension
from service.domain.streams import person_stream
from service.encryption.keyring import KeyRing
from service.errors import Overloaded
from service.eventstore.appender import Appender
from service.eventstore.reader import LogReader
from service.realtime.user_cache import UserCache

if TYPE_CHECKING:
    import asyncpg

MAX_DECISIONS = 8
"""How often it is decided again because something about the person was recorded meanwhile."""


class AccountSuspensions:
    """Records what is decided about people."""

    def __init__(
        self,
        chat: Chat,
        people: UserCache,
        appender: Appender,
        reader: LogReader,
        keys: KeyRing,
        database: "asyncpg.Pool[Any]",
    ) -> None:
        self._chat = chat
        self._people = people
        self._appender = appender
        self._reader = reader
        self._keys = keys
        self._database = database

    async def set_suspension(self, command: SetSuspension, by: str) -> None:
        """Suspend a person, or let them come back.

        Raises:
            AccountErased: they are gone for good.
            Overloaded, Unavailable: the log cannot be reached; asking again is safe.
        """
        for _ in range(MAX_DECISIONS):
            key = await key_of(self._keys, by, self._database) if command.reason else None
            state = await self._reader.person(command.user)
            events = account.judge(state, command)
            if not events:
                return
            stream, guard = person_stream(command.user), account.guard(command.user)
            entry = self._chat.entry(stream, by, f"~{uuid4()}", b"", state.head, guard, events, key)
            placed = await self._appender.offer(entry)
            if placed.outcome == "appended":
                changed = msgspec.structs.replace(state, head=placed.seq, suspended=command.suspended)
                self._people.hear(command.user, changed)
                return
            if placed.outcome == "key_gone":
                self._keys.forget(by)
        raise Overloaded
