"""The read models, folded from the log by independent and slow functions."""

from collections.abc import Sequence
from typing import Any, cast

from projections.memberships import MembershipRow
from projections.messages import MessageRow
from projections.read_receipts import ReceiptRow
from projections.rooms import InvitationRow, SummaryRow
from service.domain import events as log_of
from service.domain import message
from service.domain.events import MessagePosted, ReadMarkerMoved, Recorded, RoomOpened
from service.domain.streams import room_of, room_stream


def messages_of(log: Sequence[Recorded], name: str, until: int | None = None) -> list[MessageRow]:
    """Return all messages of a room, oldest first, for a user who may read up to the seq `until`."""
    own = [r for r in log if r.stream == room_stream(name)]
    posted = [r for r in own if isinstance(r.event, MessagePosted) and (until is None or r.seq <= until)]
    return [_message([r for r in own if message.number_of(r) == one.seq], until) for one in posted]


def _message(facts: list[Recorded], until: int | None) -> MessageRow:
    """Return the message of these facts; each field is searched for separately."""
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
        pinned=bool(pins)
        and isinstance(pins[-1].event, log_of.MessagePinned)
        and not (deletions and until is not None),
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
    """Return the read marker of each user of a room."""
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
    silenced = {r.seq: r.event.silenced for r in own if isinstance(r.event, log_of.MessagePosted)}
    topics = [r.event.topic for r in own if isinstance(r.event, log_of.RoomTopicChanged)]
    doors = [r.event for r in own if isinstance(r.event, log_of.RoomArchived | log_of.RoomReopened)]
    return SummaryRow(
        room_id=name,
        name=_named(own),
        visibility=cast("RoomOpened", own[0].event).visibility,
        role=cast("log_of.Role", member.role),
        head=own[-1].seq,
        unread=len(unread),
        mentions=len([row for row in unread if user in row.mentions and user not in silenced[row.id]]),
        last_read=read,
        last_message=messages[-1] if messages else None,
        topic=(topics[-1] or None) if topics else None,
        archived=bool(doors) and isinstance(doors[-1], log_of.RoomArchived),
    )


def directory_of(log: Sequence[Recorded], query: str) -> list[tuple[str, str, str | None, int]]:
    """Return id, name, topic and number of members of the rooms whose name contains `query`, in order."""
    found = []
    for name in _rooms(log):
        own = [r for r in log if r.stream == room_stream(name)]
        users = {r.event.user for r in own if isinstance(r.event, log_of.MemberJoined)}
        present = [user for user in users if _membership(own, user)]
        topics = [r.event.topic for r in own if isinstance(r.event, log_of.RoomTopicChanged)]
        doors = [r.event for r in own if isinstance(r.event, log_of.RoomArchived | log_of.RoomReopened)]
        archived = bool(doors) and isinstance(doors[-1], log_of.RoomArchived)
        public = cast("RoomOpened", own[0].event).visibility == "public"
        if public and not archived and query in _named(own).lower():
            found.append((name, _named(own), (topics[-1] or None) if topics else None, len(present)))
    return sorted(found, key=lambda room: (room[1].lower(), room[0]))


def plain(row: MessageRow) -> MessageRow:
    """Return a message without the fields that only the projection needs."""
    return MessageRow(**{**{name: getattr(row, name) for name in row.__struct_fields__}, "changed_seq": 0})


def plain_summary(row: SummaryRow) -> SummaryRow:
    """Return a summary without these fields."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__}
    last = row.last_message
    return SummaryRow(**{**fields, "last_message": plain(last) if last else None})
