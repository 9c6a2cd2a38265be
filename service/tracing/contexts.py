"""Derives the ids of an event's trace and spans.

Invariant: an event has the same ids in every process, and no two events share them.
"""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from random import getrandbits
from typing import NamedTuple

from opentelemetry.trace import SpanContext, TraceFlags

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class EventContexts(NamedTuple):
    """The contexts of an event's command and commit, the same in every process."""

    command: SpanContext
    commit: SpanContext


def spans_of(stream: str, seq: int, at: datetime) -> EventContexts:
    """Derive the contexts of an event. Its time makes them differ between installations, and after a restore."""
    microseconds = (at - _EPOCH) // timedelta(microseconds=1)
    digest = blake2b(f"{stream}|{seq}|{microseconds}".encode(), digest_size=32).digest()
    trace = int.from_bytes(digest[:16])
    command, commit = int.from_bytes(digest[16:24]), int.from_bytes(digest[24:])
    return EventContexts(_context(trace, command), _context(trace, commit))


def new_trace() -> SpanContext:
    """Return the context of a command that recorded nothing: a new trace."""
    return _context(getrandbits(128), getrandbits(64))


def within(trace: SpanContext) -> SpanContext:
    """Return the context of a new span in a trace."""
    return _context(trace.trace_id, getrandbits(64))


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=False, trace_flags=_SAMPLED)
