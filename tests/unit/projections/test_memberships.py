"""A user's row in a room, event by event."""

from datetime import UTC, datetime

from projections.memberships import MembershipRow, _evolve
from service.domain.events import Event, MemberBanned, MemberJoined, MemberLeft, MemberMuted, Recorded

AT = datetime(2026, 1, 1, tzinfo=UTC)


def row_after(*events: Event) -> MembershipRow | None:
    row = None
    for seq, event in enumerate(events, 1):
        row = _evolve(row, Recorded("room:general", seq, seq, event.subject, AT, "alice", event))
    return row


def test_a_mute_outlives_a_leave_and_a_return() -> None:
    row = row_after(
        MemberJoined(user="bob"),
        MemberMuted(user="bob", until=AT),
        MemberLeft(user="bob"),
        MemberJoined(user="bob"),
    )
    assert row is not None
    assert (row.present, row.joined_seq, row.muted, row.muted_until) == (True, 4, True, AT)


def test_a_return_ends_a_ban_and_a_leave() -> None:
    row = row_after(MemberJoined(user="bob"), MemberBanned(user="bob"), MemberJoined(user="bob"))
    assert row is not None
    assert (row.banned, row.left_seq, row.left_how) == (False, None, None)
