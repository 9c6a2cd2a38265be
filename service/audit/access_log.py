"""Reading the record is on the record: who read what, in a stream that is sealed like any other.

The rule: it is recorded before anything is given. What cannot be recorded is not given.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from service.domain.events import AuditRead
from service.domain.streams import AUDIT
from service.encryption.keyring import KeyRing
from service.errors import Unavailable
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, AppendResult, append_one
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    import asyncpg


class NotRecorded(Exception):
    """A reading may not be recorded by whoever asks, so nothing is given; the message is a sentence."""


class AccessLog:
    """Where readings are put down; `append` places an entry, and answers after its commit."""

    def __init__(
        self,
        append: Callable[[AppendRequest], Awaitable[AppendResult]],
        serializer: EventSerializer,
        keys: KeyRing,
    ) -> None:
        self._append = append
        self._serializer = serializer
        self._keys = keys

    async def record(self, reading: AuditRead, by: str) -> None:
        """Record a reading.

        Raises:
            Overloaded, Unavailable: it could not be recorded, so nothing may be given.
        """
        entry = AppendRequest.of(
            self._serializer, AUDIT, [reading],
            user=by, ref=f"~audit:{uuid4()}",  # no client's ref begins with ~
            fingerprint=self._keys.fingerprint(msgspec.json.encode(reading)),
        )  # fmt: skip
        if (await self._append(entry)).outcome != "appended":
            raise Unavailable


def of_node(appender: Appender, serializer: EventSerializer, keys: KeyRing) -> AccessLog:
    """Return the register of a node, which appends with everything else that it does."""
    return AccessLog(appender.offer, serializer, keys)


def of_command(
    connection: "asyncpg.Connection[Any]", serializer: EventSerializer, keys: KeyRing
) -> AccessLog:
    """Return the register of a command, over a connection of its own."""
    return AccessLog(lambda entry: append_one(connection, entry, serializer), serializer, keys)
