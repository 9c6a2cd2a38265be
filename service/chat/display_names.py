"""Records the display names that users connect with."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from cryptography.exceptions import InvalidTag

from service.domain import account
from service.domain.commands import NamePerson
from service.domain.streams import person_stream
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest
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

    async def record(self, user: str, name: str) -> None:
        """Record a user's display name, unless it is the current one.

        Raises:
            Unavailable, Overloaded: the log cannot be reached.
        """
        if self._people.account(user).name == name:
            return
        state = await self._people.current(user)
        events = account.decide(state, NamePerson(name=name), user)
        if events:
            try:
                key = await self._keys.of_person(user, self._database)
            except InvalidTag:  # logged by the key ring; the user connects under the name that is known
                self._people.update(user, state)
                return
            request = AppendRequest.of(
                self._serializer, person_stream(user), events,
                user=user, ref=f"~{uuid4()}", decided_on=state.head, guard=account.GUARD, key=key,
            )  # fmt: skip
            result = await self._appender.offer(request)
            if result.outcome == "key_gone":
                self._keys.forget(user)  # erased, or under another key from the next connection on
            if result.outcome != "appended":
                # Another node has just recorded this user's name or erasure, which holds as well.
                state = await self._people.current(user)
            else:
                state = msgspec.structs.replace(state, head=result.seq, name=name)
        self._people.update(user, state)
