"""Random histories that the domain would allow, and what they mean, worked out the slow and obvious way."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from hypothesis import strategies as st

from projections.memberships import MembershipRow
from projections.messages import MessageRow
from projections.read_receipts import ReceiptRow
from projections.rooms import InvitationRow, SummaryRow
from service.domain import events as log_of
from service.domain import message, room
from service.domain.commands import (
    AddReaction,
    ArchiveRoom,
    BanMember,
    ChangeRole,
    DeleteMessage,
    EditMessage,
    InviteMember,
    JoinRoom,
    LeaveRoom,
    MessageCommand,
    MuteMember,
    OpenRoom,
    PinMessage,
    PostMessage,
    RemoveMember,
    RemoveReaction,
    ReopenRoom,
    RoomCommand,
    UnbanMember,
    UnmuteMember,
    UnpinMessage,
    UpdateRoom,
)
from service.domain.events import Event, MessagePosted, PersonNamed, ReadMarkerMoved, Recorded, RoomOpened
from service.domain.message import MessageState
from service.domain.room import RoomState
from service.domain.streams import person_stream, reader_stream, room_of, room_stream
from service.errors import Refusal
from tests.support.oracles.projected_log import Act

USERS = ("alice", "bob", "carol")
ROOMS = ("r1", "r2", "r3")
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
_LATER = _BEGINNING + timedelta(days=1)

Wish = tuple[str, str, str, int]
_EMOJI = ("👍", "🎉", ":x:")


def _other(number: int) -> str:
    return USERS[number % len(USERS)]


COMMANDS: dict[str, Callable[[str, int], RoomCommand]] = {
    "open": lambda name, number: OpenRoom(
        room=name, name="Private", visibility="private", members=(_other(number),)
    ),
    "join": lambda name, _: JoinRoom(room=name, create=True),
    "leave": lambda name, _: LeaveRoom(room=name),
    "say": lambda name, number: PostMessage(
        room=name,
        content=f"no. {number}",
        ref="ref",
        mentions=tuple(user for bit, user in enumerate(USERS) if number >> bit & 1),
        reply_to=number % 3 or None,
    ),
    "rename": lambda name, number: UpdateRoom(room=name, name=f"Room {number}"),
    "topic": lambda name, number: UpdateRoom(room=name, topic=f"about {number}" if number % 3 else ""),
    "archive": lambda name, _: ArchiveRoom(room=name),
    "reopen": lambda name, _: ReopenRoom(room=name),
    "invite": lambda name, number: InviteMember(room=name, user=_other(number)),
    "kick": lambda name, number: RemoveMember(room=name, user=_other(number), reason="noise"),
    "ban": lambda name, number: BanMember(
        room=name, user=_other(number), until=_LATER if number % 2 else None
    ),
    "unban": lambda name, number: UnbanMember(room=name, user=_other(number)),
    "mute": lambda name, number: MuteMember(
        room=name, user=_other(number), until=_LATER if number % 2 else None
    ),
    "unmute": lambda name, number: UnmuteMember(room=name, user=_other(number)),
    "role": lambda name, number: ChangeRole(
        room=name, user=_other(number), role=("owner", "moderator", "member")[number // 3 % 3]
    ),
    "edit": lambda name, number: EditMessage(room=name, message=number, content=f"edited {number}"),
    "delete": lambda name, number: DeleteMessage(room=name, message=number),
    "react": lambda name, number: AddReaction(room=name, message=number, emoji=_EMOJI[number % 3]),
    "unreact": lambda name, number: RemoveReaction(room=name, message=number, emoji=_EMOJI[number % 3]),
    "pin": lambda name, number: PinMessage(room=name, message=number),
    "unpin": lambda name, number: UnpinMessage(room=name, message=number),
}
"""What may be wished for in a room; the number says of whom, of which message, or how."""
_OFTEN = (
    "say",
    "say",
    "say",
    "say",
    "join",
    "join",
    "join",
    "read",
    "read",
    "edit",
    "delete",
    "react",
    "pin",
)

wishes: st.SearchStrategy[list[Wish]] = st.lists(
    st.tuples(
        st.sampled_from((*_OFTEN, *_OFTEN, *COMMANDS, "name")),
        st.sampled_from(ROOMS),
        st.sampled_from(USERS),
        st.integers(0, 999),
    ),
    min_size=40,
    max_size=90,
)
"""What somebody wants in some room; wishes that the domain refuses come to nothing."""


_SO_FAR: tuple[Wish, ...] = (
    *(("join", "r1", user, 0) for user in USERS),
    *(("say", "r1", user, bit) for bit, user in enumerate(USERS)),
    ("open", "r2", "bob", 0),
    ("say", "r2", "bob", 7),
    ("react", "r1", "carol", 1),
)


class _Story:
    def __init__(self) -> None:
        self.rooms = {name: RoomState(name) for name in ROOMS}
        self.messages: dict[tuple[str, int], MessageState] = {}
        self.markers: dict[tuple[str, str], int] = {}

    def act(self, wish: Wish) -> Act | None:
        kind, name, user, number = wish
        state = self.rooms[name]
        if kind == "name":
            return user, person_stream(user), (PersonNamed(user=user, name=f"{user} {number}"),)
        if kind == "read":
            return self._read(name, user, 1 + number % state.head) if user in state.members else None
        command = COMMANDS[kind](name, self._aimed(kind, name, number))
        return self._in_room(command, self._entitled(command) or user if number % 2 else user)

    def _aimed(self, kind: str, name: str, number: int) -> int:
        """Return the number of some message of the room, for wishes about one."""
        if kind not in ("edit", "delete", "react", "unreact", "pin", "unpin"):
            return number
        known = [seq for room_id, seq in self.messages if room_id == name]
        return known[number % len(known)] if known else number

    def _entitled(self, command: RoomCommand) -> str | None:
        """Return somebody who probably may: left to chance, too few wishes would come to anything."""
        if isinstance(command, EditMessage):
            return self.messages.get((command.room, command.message), MessageState()).author
        asks = isinstance(command, JoinRoom | LeaveRoom | PostMessage)
        return None if asks else next(iter(self.rooms[command.room].owners()), None)

    def _read(self, name: str, user: str, number: int) -> Act | None:
        if number <= self.markers.get((name, user), 0):
            return None
        self.markers[name, user] = number
        return user, reader_stream(name, user), (ReadMarkerMoved(user=user, message=number),)

    def _in_room(self, command: RoomCommand, user: str) -> Act | None:
        name = command.room
        number = command.message if isinstance(command, MessageCommand) else 0
        about = self.messages.get((name, number), MessageState())
        try:
            events = room.decide(self.rooms[name], command, user, _BEGINNING, about)
        except Refusal:
            return None
        for event in events:
            self._happened(name, user, event)
        return (user, room_stream(name), tuple(events)) if events else None

    def _happened(self, name: str, user: str, event: Event) -> None:
        seq = self.rooms[name].head + 1
        recorded = Recorded(room_stream(name), seq, 0, event.subject, _BEGINNING, user, event)
        self.rooms[name] = room.evolve(self.rooms[name], recorded)
        if (number := message.number_of(recorded)) is not None:
            before = self.messages.get((name, number), MessageState())
            self.messages[name, number] = message.evolve(before, recorded)


def acts(wanted: Iterable[Wish]) -> list[Act]:
    """Return what comes of the wishes, in rooms of which one is there already, and one is private."""
    story = _Story()
    return [act for wish in (*_SO_FAR, *wanted) if (act := story.act(wish)) is not None]


def messages_of(log: Sequence[Recorded], name: str, until: int | None = None) -> list[MessageRow]:
    """Return all messages of a room, oldest first, as whoever may read up to the seq `until` sees them."""
    own = [r for r in log if r.stream == room_stream(name)]
    posted = [r for r in own if isinstance(r.event, MessagePosted) and (until is None or r.seq <= until)]
    return [_message([r for r in own if message.number_of(r) == one.seq], until) for one in posted]


def _message(facts: list[Recorded], until: int | None) -> MessageRow:
    """Return a message of which these are the facts: each thing by its own look through them."""
    posted = cast("MessagePosted", facts[0].event)
    seen = [r for r in facts if until is None or r.seq <= until]
    edits = [r for r in seen if isinstance(r.event, log_of.MessageEdited)]
    deletions = [r for r in facts if isinstance(r.event, log_of.MessageDeleted)]
    said: Any = edits[-1].event if edits else posted
    pins = [r for r in seen if isinstance(r.event, log_of.MessagePinned | log_of.MessageUnpinned)]
    return MessageRow(
        room_id=room_of(facts[0].stream),
        id=facts[0].seq,
        user_id=posted.author,
        content=None if deletions else said.content,
        created_at=facts[0].at,
        reply_to=posted.reply_to,
        mentions=posted.mentions,
        changed_seq=0,
        edited_at=edits[-1].at if edits else None,
        deleted_at=deletions[0].at if deletions else None,
        reactions={} if deletions else _reactions(seen),
        pinned=bool(pins) and isinstance(pins[-1].event, log_of.MessagePinned) and until is None,
    )


def _reactions(facts: list[Recorded]) -> dict[str, tuple[str, ...]]:
    given: list[tuple[str, str]] = []
    for r in facts:
        match r.event:
            case log_of.ReactionAdded(emoji=emoji):
                given.append((emoji, r.by))
            case log_of.ReactionRemoved(emoji=emoji):
                given.remove((emoji, r.by))
    return {emoji: tuple(user for other, user in given if other == emoji) for emoji, _ in given}


def receipts_of(log: Sequence[Recorded], name: str) -> list[ReceiptRow]:
    """Return how far everybody has read in a room, by user."""
    found: dict[str, ReceiptRow] = {}
    for r in log:
        if isinstance(r.event, ReadMarkerMoved) and room_of(r.stream) == name:
            found[r.event.user] = ReceiptRow(r.event.user, r.event.message, r.at)
    return [found[user] for user in sorted(found)]


def memberships_of(log: Sequence[Recorded], user: str) -> list[MembershipRow]:
    """Return a user's memberships, by room."""
    found = [_membership([r for r in log if r.stream == room_stream(name)], user) for name in _rooms(log)]
    return [row for row in found if row is not None]


def _membership(own: list[Recorded], user: str) -> MembershipRow | None:
    mine = [r for r in own if r.subject == f"user:{user}"]
    comings = [r for r in mine if isinstance(r.event, (log_of.MemberJoined, *log_of.ENDINGS))]
    if not comings or not isinstance(comings[-1].event, log_of.MemberJoined):
        return None
    joined = comings[-1]
    roles = [cast("Any", r.event).role for r in mine if hasattr(r.event, "role")]
    mutes = [r.event for r in mine if isinstance(r.event, log_of.MemberMuted | log_of.MemberUnmuted)]
    muted = isinstance(mutes[-1], log_of.MemberMuted) if mutes else False
    until = cast("Any", mutes[-1]).until if muted else None
    name = room_of(joined.stream)
    return MembershipRow(name, user, roles[-1], joined.seq, joined.at, muted=muted, muted_until=until)


def invitations_of(log: Sequence[Recorded], user: str) -> list[InvitationRow]:
    """Return the rooms that a user is invited to, by room."""
    found = []
    for name in _rooms(log):
        own = [r for r in log if r.stream == room_stream(name)]
        about = (log_of.MemberInvited, log_of.MemberJoined, *log_of.ENDINGS)
        mine = [r for r in own if r.subject == f"user:{user}" and isinstance(r.event, about)]
        if mine and isinstance(mine[-1].event, log_of.MemberInvited):
            opened = cast("RoomOpened", own[0].event)
            found.append(InvitationRow(name, _named(own), opened.visibility, mine[-1].by, mine[-1].at))
    return found


def _rooms(log: Sequence[Recorded]) -> list[str]:
    return sorted({room_of(r.stream) for r in log if r.stream.startswith(room_stream(""))})


def _named(own: list[Recorded]) -> str:
    return [r.event.name for r in own if isinstance(r.event, RoomOpened | log_of.RoomRenamed)][-1]


def summaries_of(log: Sequence[Recorded], user: str) -> list[SummaryRow]:
    """Return a user's rooms as `room:list` should show them."""
    return [_summary(log, row) for row in memberships_of(log, user)]


def _summary(log: Sequence[Recorded], member: MembershipRow) -> SummaryRow:
    name, user = member.room_id, member.user_id
    own = [r for r in log if r.stream == room_stream(name)]
    messages = messages_of(log, name)
    read = next((receipt.message_id for receipt in receipts_of(log, name) if receipt.user_id == user), 0)
    floor = max(read, cast("int", member.joined_seq))
    unread = [row for row in messages if row.id > floor and row.user_id != user and row.deleted_at is None]
    topics = [r.event.topic for r in own if isinstance(r.event, log_of.RoomTopicChanged)]
    doors = [r.event for r in own if isinstance(r.event, log_of.RoomArchived | log_of.RoomReopened)]
    return SummaryRow(
        room_id=name,
        name=_named(own),
        visibility=cast("RoomOpened", own[0].event).visibility,
        role=cast("log_of.Role", member.role),
        head=own[-1].seq,
        unread=len(unread),
        mentions=len([row for row in unread if user in row.mentions]),
        last_read=read,
        last_message=messages[-1] if messages else None,
        topic=(topics[-1] or None) if topics else None,
        archived=bool(doors) and isinstance(doors[-1], log_of.RoomArchived),
    )


def plain(row: MessageRow) -> MessageRow:
    """Return a message without what only the projection needs to know."""
    return MessageRow(**{**{name: getattr(row, name) for name in row.__struct_fields__}, "changed_seq": 0})


def plain_summary(row: SummaryRow) -> SummaryRow:
    """Return a summary without the same."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__}
    last = row.last_message
    return SummaryRow(**{**fields, "last_message": plain(last) if last else None})
