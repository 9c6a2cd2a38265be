"""Reading the record is on the record: who read what, in a stream that is sealed like any other.

The rule: it is recorded before anything is given. What cannot be recorded is not given.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from service.domain.events import AuditRead
from service.domain.streams import AUDIT
from service.errors import Unavailable
from service.log.append import Appender
from service.log.batch import Entry, Placed, append_one
from service.log.keys import KeyRing
from service.log.mapper import Mapper

if TYPE_CHECKING:
    import asyncpg


class NotRecorded(Exception):
    """A reading may not be recorded by whoever asks, so nothing is given; the message is a sentence."""


class Register:
    """Where readings are put down; `append` places an entry, and answers after its commit."""

    def __init__(self, append: Callable[[Entry], Awaitable[Placed]], mapper: Mapper, keys: KeyRing) -> None:
        self._append = append
        self._mapper = mapper
        self._keys = keys

    async def note(self, reading: AuditRead, by: str) -> None:
        """Record a reading.

        Raises:
            Overloaded, Unavailable: it could not be recorded, so nothing may be given.
        """
        entry = Entry(
            stream=AUDIT,
            user=by,
            ref=f"~audit:{uuid4()}",  # no client's ref begins with ~
            fingerprint=self._keys.fingerprint(msgspec.json.encode(reading)),
            decided_on=0,
            guard=(),
            events=(reading,),
            stored=(self._mapper.to_stored(reading, AUDIT, None),),
        )
        if (await self._append(entry)).outcome != "appended":
            raise Unavailable


def of_node(appender: Appender, mapper: Mapper, keys: KeyRing) -> Register:
    """Return the register of a node, which appends with everything else that it does."""
    return Register(appender.offer, mapper, keys)


def of_command(connection: "asyncpg.Connection[Any]", mapper: Mapper, keys: KeyRing) -> Register:
    """Return the register of a command, over a connection of its own."""
    return Register(lambda entry: append_one(connection, entry, mapper), mapper, keys)
