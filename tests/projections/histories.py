"""Random histories that the domain would allow, and what they mean, worked out the slow and obvious way."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from hypothesis import strategies as st

from projections.memberships import MembershipRow
from projections.messages import MessageRow
from projections.read_receipts import ReceiptRow
from projections.rooms import SummaryRow
from service.domain import room
from service.domain.commands import JoinRoom, LeaveRoom, PostMessage
from service.domain.events import (
    Event,
    MemberJoined,
    MemberLeft,
    MessagePosted,
    PersonNamed,
    ReadMarkerMoved,
    Recorded,
    Role,
    RoleChanged,
    RoomOpened,
)
from service.domain.room import RoomState
from service.domain.streams import person_stream, reader_stream, room_of, room_stream
from tests.projections.worlds import Act

USERS = ("alice", "bob", "carol")
ROOMS = ("r1", "r2", "r3")
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

Wish = tuple[str, str, str, int]
wishes: st.SearchStrategy[list[Wish]] = st.lists(
    st.tuples(
        st.sampled_from(("say", "say", "say", "say", "join", "join", "leave", "read", "read", "name")),
        st.sampled_from(ROOMS),
        st.sampled_from(USERS),
        st.integers(0, 999),
    ),
    min_size=10,
    max_size=60,
)
"""What somebody wants in some room; wishes that the domain refuses come to nothing."""


class _Story:
    def __init__(self) -> None:
        self.rooms = {name: RoomState(name) for name in ROOMS}
        self.markers: dict[tuple[str, str], int] = {}

    def act(self, wish: Wish) -> Act | None:
        kind, name, user, number = wish
        state = self.rooms[name]
        if kind == "name":
            return user, person_stream(user), (PersonNamed(user=user, name=f"{user} {number}"),)
        if kind == "join":
            return self._in_room(name, user, room.decide(state, JoinRoom(room=name, create=True), user))
        if user not in state.members:
            return None
        if kind == "leave":
            return self._in_room(name, user, room.decide(state, LeaveRoom(room=name), user))
        if kind == "read":
            return self._read(name, user, 1 + number % state.head)
        mentions = tuple(other for bit, other in enumerate(USERS) if number >> bit & 1)
        post = PostMessage(
            room=name, content=f"no. {number}", ref="ref", mentions=mentions, reply_to=number % 3 or None
        )
        return self._in_room(name, user, room.decide(state, post, user))

    def _read(self, name: str, user: str, message: int) -> Act | None:
        if message <= self.markers.get((name, user), 0):
            return None
        self.markers[name, user] = message
        return user, reader_stream(name, user), (ReadMarkerMoved(user=user, message=message),)

    def _in_room(self, name: str, user: str, events: list[Event]) -> Act | None:
        for event in events:
            seq = self.rooms[name].head + 1
            recorded = Recorded(room_stream(name), seq, 0, event.subject, _BEGINNING, user, event)
            self.rooms[name] = room.evolve(self.rooms[name], recorded)
        return (user, room_stream(name), tuple(events)) if events else None


def acts(wanted: Iterable[Wish]) -> list[Act]:
    """Return what comes of the wishes."""
    story = _Story()
    return [act for wish in wanted if (act := story.act(wish)) is not None]


def messages_of(log: Sequence[Recorded], name: str) -> list[MessageRow]:
    """Return all messages of a room, oldest first."""
    return [
        MessageRow(name, r.seq, r.event.author, r.event.content, r.at, r.event.reply_to, r.event.mentions)
        for r in log
        if r.stream == room_stream(name) and isinstance(r.event, MessagePosted)
    ]


def receipts_of(log: Sequence[Recorded], name: str) -> list[ReceiptRow]:
    """Return how far everybody has read in a room, by user."""
    found: dict[str, ReceiptRow] = {}
    for r in log:
        if isinstance(r.event, ReadMarkerMoved) and room_of(r.stream) == name:
            found[r.event.user] = ReceiptRow(r.event.user, r.event.message, r.at)
    return [found[user] for user in sorted(found)]


def memberships_of(log: Sequence[Recorded], user: str) -> list[MembershipRow]:
    """Return a user's memberships, by room."""
    found: dict[str, MembershipRow] = {}
    for r in log:
        name = room_of(r.stream)
        match r.event:
            case MemberJoined(user=about, role=role) if about == user:
                found[name] = MembershipRow(name, user, role, r.seq, r.at)
            case RoleChanged(user=about, role=role) if about == user:
                found[name] = MembershipRow(name, user, role, found[name].joined_seq, found[name].joined_at)
            case MemberLeft(user=about) if about == user:
                del found[name]
    return [found[name] for name in sorted(found)]


def summaries_of(log: Sequence[Recorded], user: str) -> list[SummaryRow]:
    """Return a user's rooms as `room:list` should show them."""
    return [_summary(log, user, row.room_id, row.role, row.joined_seq) for row in memberships_of(log, user)]


def _summary(log: Sequence[Recorded], user: str, name: str, role: Role, joined: int) -> SummaryRow:
    own = [r for r in log if r.stream == room_stream(name)]
    opened = own[0].event
    assert isinstance(opened, RoomOpened)
    messages = messages_of(log, name)
    read = next((receipt.message_id for receipt in receipts_of(log, name) if receipt.user_id == user), 0)
    unread = [row for row in messages if row.id > max(read, joined) and row.user_id != user]
    return SummaryRow(
        room_id=name,
        name=opened.name,
        visibility=opened.visibility,
        role=role,
        head=own[-1].seq,
        unread=len(unread),
        mentions=len([row for row in unread if user in row.mentions]),
        last_read=read,
        last_message=messages[-1] if messages else None,
    )
