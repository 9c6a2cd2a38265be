"""Rules about streams: a connection receives all events of the log, once, in order, and nothing else."""

from collections.abc import Iterator
from itertools import groupby

from tests.drill.evidence.evidence import Evidence, Subscription, last_silence
from tests.drill.evidence.history import Delivery, Silence

TYPES = {
    "message:new": "MessagePosted",
    "room:created": "RoomOpened",
    "room:user_joined": "MemberJoined",
    "room:user_left": "MemberLeft",
}
"""Events of the wire, as the log calls them."""

_COME_BACK = range(4000, 4500)
_ORDINARY = (1000, 1001, 1005, 1006, 1011, 1012)
"""Close codes of WebSocket itself (RFC 6455) for ends that say nothing against the client."""


def contiguous(evidence: Evidence) -> Iterator[str]:
    """On one connection the events of a room follow each other by seq from its cursor on: none twice, none left out."""
    for one in evidence.subscriptions:
        last = one.start
        for delivery in one.heard:
            if last is not None and delivery.seq != last + 1:
                how = "again" if delivery.seq <= last else f"where #{last + 1} is due"
                yield f"{_who(one)} heard {one.room}#{delivery.seq} at {delivery.time:.3f} s {how}"
            last = delivery.seq
        if one.at_most is not None and one.after is None and one.heard and one.heard[0].seq > one.at_most + 1:
            yield (
                f"{_who(one)} joined {one.room} and first heard #{one.heard[0].seq}, "
                f"though it was owed everything after #{one.at_most}"
            )


def true(evidence: Evidence) -> Iterator[str]:
    """Every client received at each seq the event that the log has there, and only its author received the ref."""
    for delivery in evidence.deliveries:
        if (problem := _differs(evidence, delivery)) is not None:
            who = evidence.connects[delivery.connection]
            yield f"{who.process} heard {delivery.room}#{delivery.seq} at {delivery.time:.3f} s as {problem}"


def not_before_it_was_said(evidence: Evidence) -> Iterator[str]:
    """No message is delivered before its author began to send it."""
    for delivery in evidence.deliveries:
        event = evidence.at.get((delivery.room, delivery.seq))
        command = evidence.commands.get((event.by, event.ref or "")) if event else None
        if command is not None and delivery.time < command.first.invoked:
            yield f"{delivery.room}#{delivery.seq} was heard at {delivery.time:.6f} s, before it was sent"


def continued(evidence: Evidence) -> Iterator[str]:
    """Over a client's successive connections a room continues where it was: no event after the join is left out."""
    by_process = sorted(evidence.subscriptions, key=lambda one: (one.process, one.room, one.opened))
    for (process, room), ones in groupby(by_process, key=lambda one: (one.process, one.room)):
        reached: int | None = None
        for one in ones:
            start = one.start
            if start is None:
                continue
            if reached is not None and start > reached and not _was_away(evidence, one, reached, start):
                yield f"{process} never heard {room}#{reached + 1} to #{start}: it came back after #{start}"
            reached = one.reached if reached is None else max(reached, one.reached)


def heard_in_silence(evidence: Evidence) -> Iterator[str]:
    """After a silence every connection has every event that any client knew before it, without further traffic."""
    for silence in evidence.silences:
        for one in evidence.subscriptions:
            if one.open_at(silence.began) and one.open_at(silence.ended):
                yield from _missing(evidence, one, silence)


def present(evidence: Evidence) -> Iterator[str]:
    """At the end every client is back in every room that it joined and did not leave."""
    silence = last_silence(evidence)
    if silence is None:
        return
    there = {(one.process, one.room) for one in evidence.subscriptions if one.open_at(silence.ended)}
    for process, room, user in sorted({(one.process, one.room, one.user) for one in evidence.subscriptions}):
        head = max((event.seq for event in evidence.log.get(room, ())), default=0)
        if (process, room) not in there and evidence.is_member(room, user, head):
            yield f"{process} ({user}) is a member of {room} and was not back there in the end"


def permitted(evidence: Evidence) -> Iterator[str]:
    """A former member receives no event after the leave, unless they came back; users outside the room receive none."""
    for delivery in evidence.deliveries:
        user = evidence.connects[delivery.connection].user
        if (delivery.room, delivery.seq) not in evidence.at or evidence.joins_after(
            delivery.room, user, delivery.seq
        ):
            continue
        last = evidence.membership(delivery.room, user, delivery.seq)
        if last is None or (last.type == "MemberLeft" and last.seq < delivery.seq):
            yield f"{user} heard {delivery.room}#{delivery.seq} and was no member then"


def recovered(evidence: Evidence) -> Iterator[str]:
    """A member who reconnects with a cursor that it received gets `recovered`."""
    for one in evidence.operations:
        for room, head in one.heads.items():
            cursor = one.cursors.get(room) or 0
            last = evidence.membership(room, one.user, max(cursor, head.head or 0))
            if not head.recovered and last is not None and last.type == "MemberJoined":
                yield (
                    f"{one.process} came back to {room} with cursor {cursor} at {one.invoked:.3f} s "
                    f"and was told recovered: false ({head.reason}, head {head.head})"
                )


def closed(evidence: Evidence) -> Iterator[str]:
    """No connection is closed with a code for a fault of the client, since no client is at fault."""
    for closing in evidence.closings:
        if closing.code not in _COME_BACK and closing.code not in _ORDINARY:
            who = evidence.connects[closing.connection]
            yield f"{who.process} was closed with {closing.code} at {closing.time:.3f} s"


def _missing(evidence: Evidence, one: Subscription, silence: Silence) -> Iterator[str]:
    owed = evidence.known_before(one.room, silence.began)
    last = evidence.membership(one.room, one.user, owed)
    if last is not None and last.type == "MemberLeft":
        owed = min(owed, last.seq)
    start = one.start if one.start is not None else one.at_most
    heard = max([start or 0, *(delivery.seq for delivery in one.heard if delivery.time <= silence.ended)])
    if start is not None and heard < owed:
        patience = silence.ended - silence.began
        yield f"{_who(one)} had heard {one.room} up to #{heard}, and not #{owed}, after {patience:.1f} s of silence"


def _differs(evidence: Evidence, delivery: Delivery) -> str | None:
    event = evidence.at.get((delivery.room, delivery.seq))
    seen = f"{delivery.type} of {delivery.user} at {delivery.at} ({delivery.content!r})"
    if event is None:
        return f"{seen}, which the log does not have"
    same = (
        delivery.at == event.at
        and TYPES.get(delivery.type, event.type) == event.type
        and (event.user is None or delivery.user == event.user)
        and delivery.content == event.content
    )
    if not same:
        return f"{seen}, and the log has {event.type} of {event.user} at {event.at} ({event.content!r})"
    listener = evidence.connects[delivery.connection].user
    due = event.ref if listener == event.by else None
    return None if delivery.ref == due else f"{seen} with ref {delivery.ref} instead of {due}"


def _was_away(evidence: Evidence, one: Subscription, reached: int, start: int) -> bool:
    """Whether the client's user had left by `reached` and was no member again before `start`."""
    before, after = (evidence.membership(one.room, one.user, seq) for seq in (reached, start))
    return before is not None and before.type == "MemberLeft" and before is after


def _who(one: Subscription) -> str:
    return f"{one.process} ({one.user}, connection {one.connection})"
