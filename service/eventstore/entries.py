"""The input and output of `chat_append`: requests, the result of each, and the new events of a batch.

Both the append queue of a node and CLI commands with their own connection use it.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from service.domain.events import Event, Recorded
from service.domain.streams import NEW_MESSAGE, stream_id
from service.errors import Overloaded
from service.eventstore.serializer import EventSerializer, PeerRow, Stored

if TYPE_CHECKING:
    import asyncpg

    from service.encryption.person_key import PersonKey

Outcome = Literal["appended", "nothing", "known", "conflict", "key_gone", "stale", "refused"]

_ENTRY_BYTES = 300
"""Approximate bytes of an entry without its events."""

TRIES = 8
"""Decisions on a command before the caller is asked to retry later."""

log = logging.getLogger("onrecord.append")


class AppendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A command as `chat_append` takes it: the decided events, and the seq and subjects that the decision depends on.

    `stored` holds the stored form of each of `events`. For a refusal `record` is False: only the ref is looked up.
    """

    stream: str
    user: str
    ref: str
    fingerprint: bytes
    decided_on: int
    guard: tuple[str, ...]
    events: tuple[Event, ...] = ()
    stored: tuple[Stored, ...] = ()
    record: bool = True

    @classmethod
    def of(  # noqa: PLR0913 - the fields of a request
        cls,
        serializer: EventSerializer,
        stream: str,
        events: Sequence[Event],
        *,
        user: str,
        ref: str,
        fingerprint: bytes = b"",
        decided_on: int = 0,
        guard: tuple[str, ...] = (),
        key: "PersonKey | None" = None,
        record: bool = True,
    ) -> Self:
        """Return a request to append events, their personal fields sealed with `key`.

        Raises:
            ValueError: an event holds personal fields and there is no key.
        """
        return cls(
            stream=stream,
            user=user,
            ref=ref,
            fingerprint=fingerprint,
            decided_on=decided_on,
            guard=guard,
            events=tuple(events),
            stored=tuple([serializer.to_stored(event, stream, key) for event in events]),
            record=record,
        )

    @property
    def size(self) -> int:
        """Approximate bytes sent to the database."""
        size = _ENTRY_BYTES
        for stored in self.stored:
            size += len(stored.state)
        return size


class AppendResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result for an entry. `seq` is that of its last event, or of the first answer to its ref.

    For a stale entry, `at` is the log's present time, by which the next decision selects the key of the day.
    """

    outcome: Outcome
    stream: str
    seq: int = 0
    at: datetime | None = None


class CommitResult(msgspec.Struct):
    """The results of a commit, one per entry, and by stream, in order, the events that are new to this node.

    `new_events` has the node's own events and those that it lacked; `written` has its own as they are sent to other
    nodes. `began` is the time of the first try, by `time.monotonic`.
    """

    results: list[AppendResult]
    new_events: dict[str, list[Recorded]]
    written: dict[str, list[PeerRow]]
    began: float = 0.0


async def append_decided(
    decide: Callable[[], Awaitable[AppendRequest | None]],
    append: Callable[[AppendRequest], Awaitable[AppendResult]],
    must_retry: Callable[[AppendResult], bool] = lambda result: result.outcome == "stale",
    *,
    tries: int = TRIES,
) -> AppendResult | None:
    """Append what `decide` returns, and decide again if the stream has changed since (optimistic concurrency).

    `decide` reads the state and returns the request that follows from it, or None if there is nothing to append. It
    does not await after its decision, so that requests are queued in the order of the decisions. `append` is
    `Appender.offer`. Returns the result, None without a request.

    Raises:
        Overloaded: each of `tries` decisions was outdated when it reached the log; a retry is safe.
    """
    for _ in range(tries):
        request = await decide()
        if request is None:
            return None
        result = await append(request)
        if not must_retry(result):
            return result
    raise Overloaded


async def append_one(
    connection: "asyncpg.Connection[Any]", entry: AppendRequest, serializer: EventSerializer
) -> AppendResult:
    """Append an entry over a connection, without a queue, for commands of the CLI."""
    rows = await connection.fetch(APPEND, *arguments([entry], lambda _stream: None))
    return read_batch([entry], rows, serializer).results[0]


def read_batch(entries: list[AppendRequest], rows: list[Any], serializer: EventSerializer) -> CommitResult:
    """Return the result in the rows of `chat_append`: own events from memory, missing ones decoded."""
    results: list[AppendResult | None] = [None] * len(entries)
    new_events: dict[str, list[Recorded]] = {}
    written: dict[str, list[PeerRow]] = {}
    broken: set[str] = set()
    used = [0] * len(entries)
    for row in rows:
        command, outcome, seq, position, at, stream, _topic, subject, _by, _key_id, _wrapped, _state = row
        entry = entries[command - 1]
        if outcome == "missing":
            _add_missing(new_events, broken, row, serializer)
            continue
        if outcome == "appended":
            event, stored = entry.events[used[command - 1]], entry.stored[used[command - 1]]
            used[command - 1] += 1
            written.setdefault(stream, []).append(
                PeerRow(seq, position, at, entry.user, stored.topic, subject, stored.state, stored.key_id)
            )
            new_events.setdefault(stream, []).append(
                Recorded(stream, seq, position, subject, at, entry.user, event)
            )
        results[command - 1] = AppendResult(
            outcome=outcome, stream=stream or entry.stream, seq=seq or 0, at=at
        )
    answered = [result for result in results if result is not None]
    if len(answered) != len(entries):
        message = f"chat_append answered {len(answered)} of {len(entries)} commands"
        raise RuntimeError(message)
    readable = {stream: events for stream, events in new_events.items() if stream not in broken}
    return CommitResult(answered, readable, written)


def _add_missing(
    new_events: dict[str, list[Recorded]],
    broken: set[str],
    row: Mapping[str, Any],
    serializer: EventSerializer,
) -> None:
    """Add a row that the node lacks; one that cannot be read holds back its stream, and no other."""
    try:
        new_events.setdefault(row["stream"], []).append(serializer.read(row))
    except Exception:
        log.exception("unreadable_event", extra={"stream": row["stream"], "seq": row["originator_version"]})
        broken.add(row["stream"])


def arguments(entries: list[AppendRequest], known_head: Callable[[str], int | None]) -> tuple[list[Any], ...]:
    """Return the arguments of `chat_append` for a batch."""
    streams: set[str] = set()
    heads: list[int | None] = []
    ends: list[int] = []
    stored: list[Stored] = []
    for entry in entries:
        heads.append(None if entry.stream in streams else known_head(entry.stream))
        streams.add(entry.stream)
        stored.extend(entry.stored)
        ends.append(len(stored))
    return (
        [entry.stream for entry in entries],
        [stream_id(entry.stream) for entry in entries],
        [entry.user for entry in entries],
        [entry.ref for entry in entries],
        [entry.fingerprint for entry in entries],
        [entry.decided_on for entry in entries],
        [" ".join(entry.guard) for entry in entries],
        [entry.record for entry in entries],
        heads,
        ends,
        [item.topic for item in stored],
        [item.subject for item in stored],
        [item.state for item in stored],
        [item.key_id for item in stored],
    )


_SEPARATOR = "\x1f"
_NOTHING = "-"


def as_text(sent: tuple[list[Any], ...]) -> tuple[Any, ...]:
    """Return the arguments as `APPEND_TEXT` takes them: one text for each list that holds no bytes.

    asyncpg asks four questions of Python for each element of an array, which took as long as the rest of its work.

    Raises:
        ValueError: a text of a command has a control character that none may have.
    """
    (
        streams,
        ids,
        users,
        refs,
        fingerprints,
        decided_on,
        guards,
        record,
        heads,
        ends,
        topics,
        subjects,
        states,
        keys,
    ) = sent
    return (
        _joined(streams), _literal(ids), _joined(users), _joined(refs), fingerprints, _literal(decided_on),
        _joined([guard or _NOTHING for guard in guards]), _literal(record), _literal(heads), _literal(ends),
        _joined(topics), _joined(subjects), states, _literal(keys),
    )  # fmt: skip


def _joined(texts: list[str]) -> str:
    joined = _SEPARATOR.join(texts)
    if texts and joined.count(_SEPARATOR) != len(texts) - 1:
        raise ValueError("a command has a unit separator in one of its texts")
    return joined


def _literal(values: list[Any]) -> str:
    """Return an array literal of PostgreSQL of numbers, UUIDs or Booleans; None is null."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


# The columns of an event have the names that `EventSerializer.read` expects.
_COLUMNS = """
    SELECT command, outcome, seq AS originator_version, position AS notification_id, at AS recorded_at, stream, topic,
        subject, recorded_by, key_id, wrapped, state
"""
APPEND = f"{_COLUMNS} FROM chat_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
"""Takes `arguments`."""
APPEND_TEXT = f"""{_COLUMNS}
    FROM chat_append(
        string_to_array($1, E'\\x1f'), $2::text::uuid[], string_to_array($3, E'\\x1f'), string_to_array($4, E'\\x1f'),
        $5, $6::text::bigint[], string_to_array($7, E'\\x1f'), $8::text::boolean[], $9::text::bigint[],
        $10::text::integer[], string_to_array($11, E'\\x1f'), string_to_array($12, E'\\x1f'), $13,
        $14::text::uuid[])
"""
"""Takes `as_text(arguments(...))`."""
assert NEW_MESSAGE == "message:"  # noqa: S101 - `chat_append` contains this literal
