"""`room:list`: a user's rooms with their unread counts, and the user's invitations, paged together by room id.

Invariant: a page fits into a frame, however many rooms a user is in and however long their names and topics are.
"""

from dataclasses import dataclass

import msgspec

from projections import rooms
from service.eventstore.read_database import ReadModels
from service.gateway.queries.views import Views
from service.protocol.acks import RoomListAck
from service.protocol.events import Invitation, RoomSummary, timestamp
from service.realtime.room_feeds import RoomFeeds
from service.realtime.user_cache import UserCache

MAX_ENTRIES = 1_000
"""Rooms and invitations on one page; fewer if they do not fit into a frame."""


@dataclass(frozen=True)
class RoomList:
    """Builds the pages; a page has at most `budget` bytes of last messages, and half as many of everything else."""

    models: ReadModels
    views: Views
    feeds: RoomFeeds
    people: UserCache
    budget: int

    async def page(self, user: str, after: str | None) -> RoomListAck:
        """Return the rooms and invitations of a user by room id, `after` exclusive.

        Raises:
            ProjectionBehind, Unavailable: the read models cannot be queried now.
        """
        bounds = {"after": after, "limit": MAX_ENTRIES + 1}
        found = await self.models.read(rooms.summaries, user, **bounds)
        await self.people.load(row.last_message.user_id for row in found if row.last_message)
        invited = await self.models.read(rooms.invitations, user, **bounds)
        entries = [*map(self._summary, found), *map(_invitation, invited)]
        entries.sort(key=lambda entry: entry.room_id)
        kept = self._fitting(entries[:MAX_ENTRIES])
        return RoomListAck(
            rooms=[entry for entry in kept if isinstance(entry, RoomSummary) and self._is_in(user, entry)],
            invitations=[entry for entry in kept if isinstance(entry, Invitation)],
            has_more=len(kept) < len(entries),
        )

    def _is_in(self, user: str, summary: RoomSummary) -> bool:
        """Return whether the user is a member, by this node's state if it is newer than the read model."""
        state = self.feeds.state(summary.room_id)
        return state is None or state.head < summary.head or user in state.members

    def _fitting(self, entries: list[RoomSummary | Invitation]) -> list[RoomSummary | Invitation]:
        """Return the entries that fit into a frame, at least one; last messages that do not fit are left out."""
        message_bytes, other_bytes = self.budget, self.budget // 2
        kept: list[RoomSummary | Invitation] = []
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

    def _summary(self, row: rooms.SummaryRow) -> RoomSummary | Invitation:
        return RoomSummary(
            room_id=row.room_id,
            name=row.name,
            visibility=row.visibility,
            role=row.role,
            head=row.head,
            unread=row.unread,
            mentions=row.mentions,
            last_read=row.last_read,
            last_message=self.views.message(row.last_message) if row.last_message else None,
            topic=row.topic,
            archived=row.archived,
        )


def _invitation(row: rooms.InvitationRow) -> RoomSummary | Invitation:
    return Invitation(
        room_id=row.room_id,
        name=row.name,
        visibility=row.visibility,
        by=row.invited_by,
        at=timestamp(row.invited_at),
    )
