"""Rules about the log: no gaps, times in order, and only requested events, each once."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from tests.drill.evidence.evidence import Evidence
from tests.drill.evidence.history import Logged


def numbered(evidence: Evidence) -> Iterator[str]:
    """A room's events are numbered 1, 2, 3 ... without a gap, and no number occurs twice."""
    for room, events in evidence.log.items():
        expected = 1
        for event in events:
            if event.seq != expected:
                yield f"the log of {room} goes on with {event.seq} where {expected} is due"
            expected = event.seq + 1


def clock(evidence: Evidence) -> Iterator[str]:
    """A room's times never decrease."""
    for room, events in evidence.log.items():
        for before, after in pairwise(events):
            if after.at < before.at:
                yield f"{room}#{after.seq} was recorded at {after.at}, and #{before.seq} before it at {before.at}"


def once(evidence: Evidence) -> Iterator[str]:
    """A ref has one effect, and no content is recorded twice (every message here has its own)."""
    messages = [one for events in evidence.log.values() for one in events if one.type == "MessagePosted"]
    for what, key in (("ref", _ref), ("message", _words)):
        for value, times in Counter(map(key, messages)).items():
            if times > 1:
                where = ", ".join(f"{one.room}#{one.seq}" for one in messages if key(one) == value)
                yield f"the {what} {value[1]!r} of {value[0]} is on the record {times} times: {where}"


def meant(evidence: Evidence) -> Iterator[str]:
    """Every message, join and leave in the log was requested by that user in that room, with that content."""
    asked = {(one.op, one.user, one.room) for one in evidence.operations if one.op in ("join", "leave")}
    for event in (event for events in evidence.log.values() for event in events):
        where = f"{event.room}#{event.seq}"
        if event.type == "MessagePosted":
            yield from _meant_message(evidence, event, where)
        elif event.type in _BY_COMMAND and (_BY_COMMAND[event.type], event.user, event.room) not in asked:
            yield f"{where} is {event.type} of {event.user}, who never asked for it"


def _meant_message(evidence: Evidence, event: Logged, where: str) -> Iterator[str]:
    command = evidence.commands.get((event.by, event.ref or ""))
    if command is None or command.first.room != event.room:
        yield f"{where} is a message of {event.by} with ref {event.ref}, which nobody sent there"
    elif command.first.content != event.content:
        yield f"{where} says {event.content!r}, and {event.by} sent {command.first.content!r}"


def _ref(event: Logged) -> tuple[str, str | None]:
    return event.by, event.ref


def _words(event: Logged) -> tuple[str, str | None]:
    return event.by, event.content


_BY_COMMAND = {"MemberJoined": "join", "MemberLeft": "leave"}
