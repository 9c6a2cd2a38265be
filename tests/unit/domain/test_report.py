"""Reports: who may make, see and resolve them, as a table."""

from datetime import UTC, datetime
from typing import Any

import pytest
from rpds import HashTrieMap

from service.domain.commands import ReportMessage, ResolveReport
from service.domain.events import MessageReported, ReportResolved
from service.domain.message import MessageSummary
from service.domain.report import (
    Quota,
    ReportState,
    decide_report,
    decide_resolution,
    readers,
    require_reader,
)
from service.domain.room_state import Member, RoomState
from service.domain.streams import report_id
from service.errors import (
    MessageIsDeleted,
    MessageNotFound,
    NotAllowed,
    Refusal,
    ReportNotFound,
    RoomNotFound,
    TooManyRequests,
)

AT = datetime(2026, 11, 29, tzinfo=UTC)
MEMBERS = HashTrieMap(
    {"alice": Member("owner", 1), "bob": Member("moderator", 1), "carol": Member("member", 1)}
)
ROOM = RoomState("general", head=9, visibility="private", members=MEMBERS)
DIRECT = RoomState("d-1", head=9, visibility="direct", members=MEMBERS)
BY_BOB = MessageSummary(author="bob")
REPORT = ReportMessage(room="general", message=7, reason="rude")
ID = report_id("general", 7, "carol")
REPORTED = MessageReported(report=ID, message=7, author="bob", reason="rude")
OPEN = ReportState(head=1, author="bob")


def report(by: str = "carol", **changes: Any) -> Any:
    given = {"state": ROOM, "about": BY_BOB, "present": ReportState(), "quota": Quota(), **changes}
    return decide_report(**given, command=REPORT, by=by, at=AT)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [REPORTED]),
        ({"present": OPEN}, []),
        ({"present": ReportState(head=2, author="bob", outcome="warned")}, []),
        ({"present": OPEN, "quota": Quota(wait=9.0)}, []),
        ({"present": OPEN, "about": MessageSummary(author="bob", deleted=True)}, []),
        ({"by": "dave"}, RoomNotFound),
        ({"by": "bob"}, NotAllowed),
        ({"about": MessageSummary()}, MessageNotFound),
        ({"about": MessageSummary(author="bob", deleted=True)}, MessageIsDeleted),
        ({"quota": Quota(wait=9.0)}, TooManyRequests),
        ({"state": DIRECT}, NotAllowed),
    ],
)
def test_a_report(changes: dict[str, Any], expected: list[Any] | type[Refusal]) -> None:
    if isinstance(expected, list):
        assert report(**changes) == expected
    else:
        with pytest.raises(expected):
            report(**changes)


def test_a_message_of_a_direct_room_is_reported_to_administrators_only() -> None:
    (event,) = report(state=DIRECT, quota=Quota(admins=True))
    assert event.report == report_id("d-1", 7, "carol")
    assert readers(DIRECT) == []
    for user in MEMBERS:
        with pytest.raises(NotAllowed):
            require_reader(DIRECT, user, AT)


def test_moderators_and_owners_are_the_readers() -> None:
    assert sorted(readers(ROOM)) == ["alice", "bob"]
    for user in ("alice", "bob"):
        require_reader(ROOM, user, AT)
    with pytest.raises(NotAllowed):
        require_reader(ROOM, "carol", AT)
    with pytest.raises(RoomNotFound):
        require_reader(ROOM, "dave", AT)


RESOLVE = ResolveReport(room="general", report=ID, outcome="warned", note="once")


@pytest.mark.parametrize(
    ("present", "by", "expected"),
    [
        (OPEN, "alice", [ReportResolved(report=ID, outcome="warned", note="once")]),
        (ReportState(head=2, author="bob", outcome="warned"), "alice", []),
        (ReportState(head=2, author="bob", outcome="removed"), "alice", NotAllowed),
        (ReportState(head=2), "alice", ReportNotFound),
        (OPEN, "bob", ReportNotFound),
        (ReportState(head=2, author="bob", outcome="warned"), "bob", ReportNotFound),
    ],
)
def test_a_resolution(present: ReportState, by: str, expected: list[Any] | type[Refusal]) -> None:
    if isinstance(expected, list):
        assert decide_resolution(present, RESOLVE, by) == expected
    else:
        with pytest.raises(expected):
            decide_resolution(present, RESOLVE, by)
