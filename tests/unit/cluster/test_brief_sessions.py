"""Groups of brief sessions: every session is in one record that is open from its start on, and none is lost."""

from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cluster import brief_sessions
from service.cluster.brief_sessions import BriefSessions, Closing, Group, joined
from service.gateway.session.delivered import DeliveredRanges
from service.runtime.ranges import MAX_GAPS
from tests.support.clock import Clock

RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5))).map(
    lambda found: tuple((first, first + more) for first, more in found)
)


class Record:
    """What groups record; `apart` has the sessions with a record of their own."""

    def __init__(self) -> None:
        self.apart: list[str] = []
        self.opened: list[Group] = []
        self.closed: list[Closing] = []

    def record(self, session: str) -> None:
        self.apart.append(session)

    def open_group(self, group: Group, _session: str) -> None:
        self.opened.append(group)

    def close_group(self, group: Group) -> None:
        self.closed.append(group.closing())


def closing(*seqs: int) -> Closing:
    return Closing("client", 1000, {"general": tuple((seq, seq) for seq in seqs)})


async def test_within_the_allowance_each_session_is_recorded_apart() -> None:
    record, clock = Record(), Clock()
    brief = BriefSessions(record, clock)
    incarnation = uuid4()
    outcomes = [brief.opened(f"s{number}", "alice", incarnation) for number in range(25)]
    assert outcomes == [True] * 20 + [False] * 5
    assert brief.opened("other", "bob", incarnation), "each user has an allowance"
    clock.now += 30
    assert brief.opened("later", "alice", incarnation)
    assert len(record.opened) == 1


async def test_a_group_is_open_before_its_first_session_ends_and_counts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(brief_sessions, "APART_BURST", 0.5)
    record = Record()
    brief, incarnation = BriefSessions(record, Clock()), uuid4()
    assert not brief.opened("a", "alice", incarnation)
    assert len(record.opened) == 1
    assert not brief.opened("b", "alice", incarnation)
    assert brief.closed("a", "192.0.2.1", closing(1, 2))
    brief.end()
    assert not record.closed, "b is still young"
    assert brief.closed("b", "192.0.2.2", closing(3, 9))
    assert record.closed == [
        Closing(
            "brief",
            None,
            {"general": ((1, 3), (9, 9))},
            sessions=2,
            addresses=("192.0.2.1", "192.0.2.2"),
        )
    ]
    assert not brief.closed("unknown", None, closing())


async def test_what_is_inexact_or_too_much_is_recorded_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brief_sessions, "APART_BURST", 0.5)
    record = Record()
    brief, incarnation = BriefSessions(record, Clock()), uuid4()
    for session in ("merged", "many", "few"):
        brief.opened(session, "alice", incarnation)
    merged = Closing("client", 1000, {"general": ((1, 9),)}, {"general": 5})
    assert not brief.closed("merged", None, merged)
    assert not brief.closed("many", None, closing(*range(1, 2 * MAX_GAPS + 4, 2)))
    assert brief.closed("few", None, closing(1))
    brief.end()
    assert [found.sessions for found in record.closed] == [1]


async def test_a_group_takes_over_as_many_gaps_as_a_session_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are exact up to the same bound."""
    monkeypatch.setattr(brief_sessions, "APART_BURST", 0.5)
    brief, incarnation = BriefSessions(Record(), Clock()), uuid4()
    brief.opened("most", "alice", incarnation)
    delivered = DeliveredRanges()
    for seq in range(1, 2 * MAX_GAPS + 2, 2):
        delivered.add("general", seq, seq)
    assert not delivered.at_least()
    assert brief.closed("most", None, Closing("client", 1000, delivered.ranges()))
    brief.opened("more", "alice", incarnation)
    assert not brief.closed("more", None, closing(2 * MAX_GAPS + 3))
    delivered.add("general", 2 * MAX_GAPS + 3, 2 * MAX_GAPS + 3)
    assert delivered.at_least()


async def test_a_fenced_node_begins_another_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brief_sessions, "APART_BURST", 0.5)
    record = Record()
    brief = BriefSessions(record, Clock())
    before, after = uuid4(), uuid4()
    brief.opened("a", "alice", before)
    brief.opened("b", "alice", after)
    assert [group.incarnation for group in record.opened] == [before, after]


@given(RANGES, RANGES)
def test_a_union_has_every_seq_of_both_once_in_order(
    one: tuple[tuple[int, int], ...], other: tuple[tuple[int, int], ...]
) -> None:
    def seqs(ranges: tuple[tuple[int, int], ...]) -> list[int]:
        return [seq for first, last in ranges for seq in range(first, last + 1)]

    found = joined({"general": one}, {"general": other})["general"]
    assert seqs(found) == sorted({*seqs(one), *seqs(other)})
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
