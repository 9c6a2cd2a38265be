"""Records the display names that users connect with."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from cryptography.exceptions import InvalidTag

from service.domain import account
from service.domain.account import PersonState
from service.domain.commands import NamePerson
from service.domain.streams import person_stream
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, append_decided
from service.eventstore.serializer import EventSerializer
from service.realtime.user_cache import UserCache

if TYPE_CHECKING:
    import asyncpg


class DisplayNames:
    """The names of users, in their own streams."""

    def __init__(
        self,
        people: UserCache,
        appender: Appender,
        serializer: EventSerializer,
        database: "asyncpg.Pool[Any]",
    ) -> None:
        self._people = people
        self._appender = appender
        self._serializer = serializer
        self._keys = serializer.keys
        self._database = database

    async def record(self, user: str, name: str, issued_at: datetime | None) -> None:
        """Record the display name in a user's token, unless it is the current one, or a newer token has another.

        Raises:
            Unavailable, Overloaded: the log cannot be reached.
        """
        command = NamePerson(name=name, issued_at=issued_at)
        if not account.decide(self._people.account(user), command, user):
            return
        state = PersonState()

        async def decide() -> AppendRequest | None:
            nonlocal state
            state = await self._people.current(user)
            if not (events := account.decide(state, command, user)):
                return None
            try:
                key = await self._keys.of_person(user, self._database)
            except InvalidTag:  # logged by the key ring; the user connects under the name that is known
                return None
            return AppendRequest.of(
                self._serializer, person_stream(user), events,
                user=user, ref=f"~{uuid4()}", decided_on=state.head, guard=account.GUARD, key=key,
            )  # fmt: skip

        result = await append_decided(decide, self._appender.offer)
        if result is not None and result.outcome == "appended":
            state = msgspec.structs.replace(state, head=result.seq, name=name, issued_at=issued_at)
        elif result is not None:
            if result.outcome == "key_gone":
                self._keys.forget(user)  # erased, or under another key from the next connection on
            state = await self._people.current(user)
        self._people.update(user, state)
