"""Rules about pages of history: a page is as new as its request, and no message is added to its middle later."""

from collections.abc import Iterator

from tests.drill.evidence.evidence import Evidence, Subscription
from tests.drill.evidence.history import Operation, Said


def whole(evidence: Evidence) -> Iterator[str]:
    """A page holds every message between its ends that the log has at the end: none was added later.

    Its newer end is what any client knew at the request, unless the request had `before` or `after`.
    """
    for one in evidence.operations:
        if one.op == "history" and one.outcome == "ok":
            yield from _compare(evidence, one.room, one.page, _bounds(evidence, one), _reader(one))
    for subscription in evidence.subscriptions:
        snapshot, cursor = subscription.snapshot, subscription.start
        if snapshot is not None and cursor is not None:
            first = snapshot.page[0].seq if snapshot.page and snapshot.more else 1
            yield from _compare(
                evidence, snapshot.room, snapshot.page, (first, cursor), _joiner(subscription)
            )


def true(evidence: Evidence) -> Iterator[str]:
    """A page shows each message as the log has it."""
    for who, room, page in _every_page(evidence):
        for said in page:
            event = evidence.at.get((room, said.seq))
            if event is None:
                yield f"{who} was shown {room}#{said.seq} ({said.content!r}), which the log does not have"
            elif (said.user, said.content, said.at) != (event.by, event.content, event.at):
                yield f"{who} was shown {room}#{said.seq} as {said.content!r}, and the log has {event.content!r}"


def _compare(
    evidence: Evidence, room: str, page: list[Said], bounds: tuple[int, int], who: str
) -> Iterator[str]:
    low, high = bounds
    shown = [said.seq for said in page]
    if shown != sorted(set(shown)):
        yield f"{who} was shown {room} out of order: {shown}"
    due = {
        event.seq
        for event in evidence.log.get(room, ())
        if event.type == "MessagePosted" and low <= event.seq <= high
    }
    if absent := sorted(due - set(shown)):
        yield f"{who} was shown {room} from #{low} to #{high} without #{', #'.join(map(str, absent))}"
    if beyond := sorted(seq for seq in shown if not low <= seq <= high):
        yield f"{who} was shown {room} from #{low} to #{high} with #{', #'.join(map(str, beyond))} beside it"


def _bounds(evidence: Evidence, one: Operation) -> tuple[int, int]:
    """Return the first and last seq between which a page has to hold every message."""
    last = one.page[-1].seq if one.page else 0
    newest = max(last, evidence.known_before(one.room, one.invoked))
    if one.after is not None:
        return one.after + 1, last if one.more else newest
    first = one.page[0].seq if one.page and one.more else 1
    return first, newest if one.before is None else one.before - 1


def _every_page(evidence: Evidence) -> Iterator[tuple[str, str, list[Said]]]:
    for one in evidence.operations:
        if one.op == "history":
            yield _reader(one), one.room, one.page
    for subscription in evidence.subscriptions:
        if subscription.snapshot is not None:
            yield _joiner(subscription), subscription.room, subscription.snapshot.page


def _reader(one: Operation) -> str:
    return f"{one.process} (node {one.node}, at {one.invoked:.3f} s)"


def _joiner(one: Subscription) -> str:
    return f"{one.process} (joining at {one.opened:.3f} s)"
