"""Rules about answers: acks are on the record, retries get equal answers, and real-time order holds."""

from collections.abc import Iterator

from tests.drill.evidence.evidence import Command, Evidence
from tests.drill.evidence.history import Operation

_NEVER = float("inf")


def acknowledged(evidence: Evidence) -> Iterator[str]:
    """Nothing acknowledged is lost: the log has each acked command at the acked seq, with the acked time."""
    for command in evidence.commands.values():
        for ack in command.acks:
            if (problem := _not_there(evidence, ack)) is not None:
                yield f"{_told(ack)}, and in the log {problem}"


def same_answer(evidence: Evidence) -> Iterator[str]:
    """A retry has one effect: every ack of a ref has the same seq and time, on every node."""
    for command in evidence.commands.values():
        for ack in command.acks[1:]:
            first = command.acks[0]
            if (ack.seq, ack.at) != (first.seq, first.at):
                yield f"{_told(first)}, and {_told(ack)} at {ack.at} instead of {first.at}"


def real_time(evidence: Evidence) -> Iterator[str]:
    """An event that a client knew before a command was first sent has a lower seq than that command's event.

    An event is known from its first ack, delivery or page on; a command is begun with its first try.
    """
    begun = _begun(evidence)
    for room, events in evidence.log.items():
        soonest, later = _NEVER, 0  # of the events with a higher seq, the one that was known first
        for event in sorted(events, key=lambda one: -one.seq):
            invoked = begun.get((room, event.seq))
            if invoked is not None and soonest < invoked:
                yield (
                    f"{room}#{later} was known at {soonest:.6f} s, before {room}#{event.seq} "
                    f"was begun at {invoked:.6f} s"
                )
            known = evidence.known.get((room, event.seq), _NEVER)
            if known < soonest:
                soonest, later = known, event.seq


def refused(evidence: Evidence) -> Iterator[str]:
    """No member is refused what members may do, and a command that was finally refused is not on the record."""
    for one in evidence.operations:
        if one.outcome == "refused" and not one.retryable:
            yield f"{one.op} of {one.user} in {one.room} at {one.invoked:.3f} s was refused: {one.code}"
    recorded = {(event.by, event.ref) for events in evidence.log.values() for event in events if event.ref}
    for (user, ref), command in evidence.commands.items():
        final = all(one.outcome == "refused" and not one.retryable for one in command.tries)
        if final and (user, ref) in recorded:
            yield f"the ref {ref} of {user} was refused for good, and is on the record"


def unanswered(evidence: Evidence) -> Iterator[str]:
    """At the end every command has been answered, at the first or a later try."""
    if not evidence.silences:
        return
    for command in evidence.commands.values():
        last = command.tries[-1]
        if not command.acks and (last.outcome == "unknown" or last.retryable):
            yield (
                f"{last.op} of {last.user} in {last.room} (ref {last.ref}) was tried {len(command.tries)} times "
                f"from {command.first.invoked:.3f} s on and never answered ({last.code or 'connection lost'})"
            )


def _begun(evidence: Evidence) -> dict[tuple[str, int], float]:
    """When each event's command was first tried."""
    begun: dict[tuple[str, int], float] = {}
    for command in evidence.commands.values():
        for ack in command.acks:
            event = evidence.at.get((ack.room, ack.seq))
            if (
                event is not None
                and event.at == ack.at
                and _is_its_event(command, event.type, event.user, event.ref)
            ):
                begun[ack.room, ack.seq] = command.first.invoked
    for events in evidence.log.values():
        for event in events:
            found = evidence.commands.get((event.by, event.ref or ""))
            if found is not None:
                begun[event.room, event.seq] = found.first.invoked
    return begun


def _is_its_event(command: Command, kind: str, user: str | None, ref: str | None) -> bool:
    if command.first.op == "send":
        return ref == command.first.ref
    if user != command.first.user:
        return False
    return kind == ("MemberJoined" if command.first.op == "join" else "MemberLeft")


def _not_there(evidence: Evidence, ack: Operation) -> str | None:
    event = evidence.at.get((ack.room, ack.seq))
    if event is None:
        return f"{ack.room} has no #{ack.seq}"
    its = f"{ack.room}#{ack.seq} is {event.type} by {event.by} at {event.at} ({event.content or event.user})"
    if ack.op == "send":
        mine = (event.type, event.by, event.ref, event.content) == (
            "MessagePosted",
            ack.user,
            ack.ref,
            ack.content,
        )
        return None if mine and event.at == ack.at else its
    if (
        _is_its_event(evidence.commands[ack.user, ack.ref], event.type, event.user, event.ref)
        and event.at == ack.at
    ):
        return None
    # It changed nothing, and was answered with the present seq.
    as_said = evidence.is_member(ack.room, ack.user, ack.seq) == (ack.op == "join")
    return None if as_said else f"{ack.user} is {'no' if ack.op == 'join' else 'a'} member as of #{ack.seq}"


def _told(ack: Operation) -> str:
    what = repr(ack.content) if ack.op == "send" else ack.op
    return f"{ack.process} was told by node {ack.node} at {ack.completed:.3f} s that {what} is {ack.room}#{ack.seq}"
