"""Records who read what, in a stream of the log that is sealed like any other.

Invariant: a read is recorded before its result is returned. If it cannot be recorded, nothing is returned.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec

from service.domain.events import AuditRead
from service.domain.streams import AUDIT
from service.errors import Unavailable
from service.eventstore.entries import AppendRequest, AppendResult
from service.eventstore.serializer import EventSerializer


class NotRecorded(Exception):
    """The login may not record reads, so nothing is returned; the message is a sentence."""


def request_of(serializer: EventSerializer, reading: AuditRead, by: str, **how: Any) -> AppendRequest:
    """Return the request that records a read by `by`; `how` are further arguments of `AppendRequest.of`."""
    return AppendRequest.of(
        serializer, AUDIT, [reading],
        user=by, ref=f"~audit:{uuid4()}",  # no client's ref begins with ~
        fingerprint=serializer.keys.fingerprint(msgspec.json.encode(reading)), **how,
    )  # fmt: skip


class AccessLog:
    """Appends reads to the audit stream; `append` returns after the commit."""

    def __init__(
        self, append: Callable[[AppendRequest], Awaitable[AppendResult]], serializer: EventSerializer
    ) -> None:
        self._append = append
        self._serializer = serializer

    async def record(self, reading: AuditRead, by: str) -> None:
        """Record a read by `by`.

        Raises:
            Overloaded, Unavailable: the read could not be recorded, so nothing may be returned.
        """
        if (await self._append(request_of(self._serializer, reading, by))).outcome != "appended":
            raise Unavailable
