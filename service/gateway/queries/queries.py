"""The queries of commands and HTTP: rooms, members and history, limited to what the user may see.

Invariant: a page of `room:list` or `room:directory` fits into a frame, however many rooms there are and however long
their names and topics are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET

from projections import rooms
from projections.directory import directory
from service.domain.content.names import shown_room, shown_topic
from service.domain.membership import successor
from service.domain.room import RoomState, require_member, visible_until
from service.errors import Malformed
from service.eventstore.read_database import ReadModels
from service.gateway.queries.views import Views
from service.gateway.session.session import Session
from service.protocol import commands as wire
from service.protocol.acks import (
    MessageHistoryAck,
    MessagePinsAck,
    RoomDirectoryAck,
    RoomListAck,
    RoomMembersAck,
)
from service.protocol.events import History, Invitation, Message, PublicRoom, RoomSummary, timestamp
from service.realtime.room_feeds import RoomFeeds
from service.realtime.user_cache import UserCache

E = TypeVar("E", bound=msgspec.Struct)

MAX_ENTRIES = 1_000
"""Rooms and invitations on one page; fewer if they do not fit into a frame."""


class Asker(Protocol):
    """The source of a query, such as a `Session`."""

    @property
    def user(self) -> str:
        """The user's id."""


@dataclass(frozen=True)
class Queries:
    """The handlers of read-only commands, which HTTP shares.

    A page of rooms has at most `budget` bytes of last messages, and half as many of everything else.
    """

    models: ReadModels
    views: Views
    feeds: RoomFeeds
    people: UserCache
    budget: int

    async def list_rooms(self, asker: Asker, frame: wire.RoomList) -> RoomListAck:
        """`room:list`."""
        page = await self._room_page(asker.user, frame.after)
        for summary in page.rooms:
            if summary.last_message is not None:
                note_page(asker, [summary.last_message])
        return page

    async def directory(self, _asker: Asker, frame: wire.RoomDirectory) -> RoomDirectoryAck:
        """`room:directory`: the same for every user."""
        page = await self.models.read(directory, part=frame.query, after=frame.after, limit=frame.limit)
        entries = [
            PublicRoom(
                room_id=entry.room.room_id,
                name=shown_room(entry.room.name, entry.room.room_id),
                topic=shown_topic(entry.room.topic),
                members=entry.members,
            )
            for entry in page.rooms
        ]
        kept = self._fitting(entries)
        following = page.next if len(kept) == len(entries) else kept[-1].room_id
        return RoomDirectoryAck(rooms=kept, has_more=following is not None, next=following)

    async def members(self, asker: Asker, frame: wire.RoomMembers) -> RoomMembersAck:
        """`room:members`."""
        await self.views.ask(require_member, frame.room_id, asker.user)
        page = await self.views.members(frame.room_id, frame.after, frame.limit)
        # The user may have left while names were read.
        heir = await self.views.ask(_successor, frame.room_id, asker.user)
        return RoomMembersAck(
            members=page.members, has_more=page.has_more, invited=page.invited or (), successor=heir or UNSET
        )

    async def history(self, asker: Asker, frame: wire.MessageHistory) -> MessageHistoryAck:
        """`message:history`."""
        until = await self.views.ask(visible_until, frame.room_id, asker.user)
        if frame.before is not None and frame.after is not None:
            raise Malformed(problem="Give before or after, not both - at '$'")
        history = await self._page(asker, frame, until)
        # A user who was removed while the page was read may see less, so the page is read again within the new bound.
        while (now := await self.views.ask(visible_until, frame.room_id, asker.user)) != until:
            until = now
            history = await self._page(asker, frame, until)
        note_page(asker, history.messages)
        return MessageHistoryAck(messages=history.messages, has_more=history.has_more)

    async def pins(self, asker: Asker, frame: wire.MessagePins) -> MessagePinsAck:
        """`message:pins`."""
        pins = await self.views.ask(_pins, frame.room_id, asker.user)
        wanted = [(number, seq) for number, seq in pins if frame.before is None or seq < frame.before]
        page = await self.views.pins(frame.room_id, asker.user, dict(wanted[: frame.limit]))
        # The user may have left while the page was read.
        await self.views.ask(require_member, frame.room_id, asker.user)
        for message in page:
            note_page(asker, [message])
        cut = bool(page) and wanted[-1][1] < page[-1].pin_seq
        return MessagePinsAck(messages=page, has_more=cut)

    async def _page(self, asker: Asker, frame: wire.MessageHistory, until: int | None) -> History:
        page = await self.views.history(
            frame.room_id,
            asker.user,
            before=frame.before,
            after=frame.after,
            limit=frame.limit,
            until=until,
        )
        if until is None:
            return page
        # Pins are for current members.
        return msgspec.structs.replace(
            page, messages=[msgspec.structs.replace(message, pinned=False) for message in page.messages]
        )

    async def _room_page(self, user: str, after: str | None) -> RoomListAck:
        """Return the rooms and invitations of a user, paged together by room id, `after` exclusive.

        Invitations by users whom the user has blocked are left out.

        Raises:
            ProjectionBehind, Unavailable: the read models cannot be queried now.
        """
        found = await self.models.read(
            rooms.summaries, user, after=after, limit=MAX_ENTRIES, budget=(self.budget, self.budget // 2)
        )
        last = await self.views.messages([row.last_message for row in found.rows if row.last_message], user)
        last_of = {message.room_id: message for message in last}
        blocked = frozenset(self.people.account(user).blocked)
        invited = await self.models.read(
            rooms.invitations, user, without=blocked, after=after, limit=MAX_ENTRIES + 1
        )
        if found.has_more:  # rooms that were not read come before later invitations
            invited = [row for row in invited if row.room_id < found.rows[-1].room_id]
        entries = [
            *(_summary(row, last_of.get(row.room_id)) for row in found.rows),
            *map(_invitation, invited),
        ]
        entries.sort(key=lambda entry: entry.room_id)
        kept = self._fitting(entries[:MAX_ENTRIES])
        return RoomListAck(
            rooms=[entry for entry in kept if isinstance(entry, RoomSummary) and self._is_in(user, entry)],
            invitations=[entry for entry in kept if isinstance(entry, Invitation)],
            has_more=found.has_more or len(kept) < len(entries),
        )

    def _is_in(self, user: str, summary: RoomSummary) -> bool:
        """Return whether the user is a member, by this node's state if it is newer than the read model."""
        state = self.feeds.state(summary.room_id)
        return state is None or state.head < summary.head or user in state.members

    def _fitting(self, entries: list[E]) -> list[E]:
        """Return the entries that fit into a frame, at least one; last messages that do not fit are left out."""
        message_bytes, other_bytes = self.budget, self.budget // 2
        kept: list[E] = []
        for entry in entries:
            bare = entry
            if isinstance(entry, RoomSummary) and entry.last_message is not None:
                bare = msgspec.structs.replace(entry, last_message=None)
                message_bytes -= len(msgspec.json.encode(entry.last_message))
            other_bytes -= len(msgspec.json.encode(bare))
            if kept and other_bytes < 0:
                break
            kept.append(entry if message_bytes >= 0 else bare)
        return kept


def _successor(state: RoomState, user: str, at: datetime) -> str | None:
    require_member(state, user, at)
    return None if state.visibility == "direct" else successor(state, user)


def _pins(state: RoomState, user: str, at: datetime) -> list[tuple[int, int]]:
    """Return the numbers of a room's pinned messages with the seqs of their pins, the newest pin first."""
    require_member(state, user, at)
    return sorted(state.pinned.items(), key=lambda pin: pin[1], reverse=True)


def note_page(asker: object, messages: Sequence[Message]) -> None:
    """Record that a page of consecutive messages is sent to the asker, if it is a session."""
    if messages and isinstance(asker, Session):
        asker.wrote(messages[0].room_id, messages[0].seq, messages[-1].seq)


def _summary(row: rooms.SummaryRow, last: Message | None) -> RoomSummary | Invitation:
    return RoomSummary(
        room_id=row.room_id,
        name=shown_room(row.name, row.room_id),
        visibility=row.visibility,
        role=row.role,
        head=row.head,
        unread=row.unread,
        mentions=row.mentions,
        last_read=row.last_read,
        last_message=last,
        topic=shown_topic(row.topic),
        archived=row.archived,
    )


def _invitation(row: rooms.InvitationRow) -> RoomSummary | Invitation:
    return Invitation(
        room_id=row.room_id,
        name=shown_room(row.name, row.room_id),
        visibility=row.visibility,
        by=row.invited_by,
        at=timestamp(row.invited_at),
    )
