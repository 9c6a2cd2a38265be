"""Hypothesis strategies for every recorded event."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from service.domain.events import (
    AuditRead,
    ContentExpired,
    Event,
    HoldPlaced,
    HoldReleased,
    KeyReplaced,
    MemberBanned,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MemberUnbanned,
    MemberUnmuted,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    MessageReported,
    MessageUnpinned,
    PersonErased,
    PersonNamed,
    PersonRestored,
    PersonSuspended,
    ReactionAdded,
    ReactionRemoved,
    ReadMarkerMoved,
    ReportResolved,
    RoleChanged,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
    RoomReopened,
    RoomRetentionChanged,
    RoomTopicChanged,
    SessionClosed,
    SessionOpened,
    UnreadMarkerMoved,
    UserBlocked,
    UserUnblocked,
)

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


seqs = st.integers(1, 2**53 - 1)


roles = st.sampled_from(["owner", "moderator", "member"])


untils = st.none() | st.datetimes(timezones=st.just(UTC))


ANY: dict[type[Event], st.SearchStrategy[Event]] = {
    RoomOpened: st.builds(
        RoomOpened, name=words, visibility=st.sampled_from(["public", "private", "direct"])
    ),
    MemberJoined: st.builds(MemberJoined, user=words, role=roles),
    MemberLeft: st.builds(MemberLeft, user=words),
    RoleChanged: st.builds(RoleChanged, user=words, role=roles, reason=st.none() | words),
    RoomRenamed: st.builds(RoomRenamed, name=words),
    RoomTopicChanged: st.builds(RoomTopicChanged, topic=st.none() | words),
    RoomArchived: st.builds(RoomArchived),
    RoomReopened: st.builds(RoomReopened),
    RoomRetentionChanged: st.builds(RoomRetentionChanged, days=st.none() | seqs),
    ContentExpired: st.builds(ContentExpired, room=words, until=st.dates(), days=seqs),
    KeyReplaced: st.builds(KeyReplaced, user=words, rooms=st.lists(words, max_size=3).map(tuple)),
    MessagePinned: st.builds(MessagePinned, message=seqs),
    MessageUnpinned: st.builds(MessageUnpinned, message=seqs),
    MemberInvited: st.builds(MemberInvited, user=words),
    MemberRemoved: st.builds(MemberRemoved, user=words, reason=st.none() | words),
    MemberBanned: st.builds(MemberBanned, user=words, until=untils, reason=st.none() | words),
    MemberUnbanned: st.builds(MemberUnbanned, user=words, reason=st.none() | words),
    MemberMuted: st.builds(MemberMuted, user=words, until=untils, reason=st.none() | words),
    MemberUnmuted: st.builds(MemberUnmuted, user=words, reason=st.none() | words),
    MessageEdited: st.builds(MessageEdited, message=seqs, content=st.none() | words),
    MessageDeleted: st.builds(MessageDeleted, message=seqs, reason=st.none() | words),
    ReactionAdded: st.builds(ReactionAdded, message=seqs, emoji=words),
    ReactionRemoved: st.builds(ReactionRemoved, message=seqs, emoji=words),
    MessagePosted: st.builds(
        MessagePosted,
        author=words,
        content=st.none() | words,
        ref=words,
        reply_to=st.none() | seqs,
        mentions=st.lists(words, max_size=4).map(tuple),
    ),
    ReadMarkerMoved: st.builds(ReadMarkerMoved, user=words, message=seqs),
    UnreadMarkerMoved: st.builds(UnreadMarkerMoved, user=words, message=seqs, marker=seqs),
    MessageReported: st.builds(
        MessageReported, report=words, message=seqs, author=words, reason=st.none() | words
    ),
    ReportResolved: st.builds(ReportResolved, report=words, outcome=words, note=st.none() | words),
    PersonNamed: st.builds(PersonNamed, user=words, name=st.none() | words, issued_at=untils),
    AuditRead: st.builds(
        AuditRead,
        what=words,
        via=st.sampled_from(["http", "cli"]),
        room=st.none() | words,
        person=st.none() | words,
        asked=st.dictionaries(words, words, max_size=3),
    ),
    PersonSuspended: st.builds(PersonSuspended, user=words, reason=st.none() | words),
    PersonRestored: st.builds(PersonRestored, user=words, reason=st.none() | words),
    UserBlocked: st.builds(UserBlocked, user=words),
    UserUnblocked: st.builds(UserUnblocked, user=words),
    PersonErased: st.builds(PersonErased, user=words, ground=words),
    HoldPlaced: st.builds(HoldPlaced, held=words, ground=words),
    HoldReleased: st.builds(HoldReleased, held=words, ground=words),
    SessionOpened: st.builds(
        SessionOpened,
        session=words,
        node=words,
        incarnation=words,
        address=st.none() | words,
        client=st.none() | words,
    ),
    SessionClosed: st.builds(
        SessionClosed,
        session=words,
        reason=words,
        code=st.none() | st.integers(1000, 4999),
        ranges=st.none()
        | st.dictionaries(words, st.lists(st.tuples(seqs, seqs), max_size=3).map(tuple), max_size=3),
    ),
}


events = st.one_of(*ANY.values())
