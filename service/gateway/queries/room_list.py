"""`room:list`: one's rooms with what is unread in them, and one's invitations, as payloads of the wire.

The rule: a page fits into a frame, however many rooms somebody was put into, and however long their names and topics
are. Rooms and invitations are paged together, by room id.
"""

import msgspec

from projections import rooms
from service.gateway.queries.views import Views
from service.gateway.services import Services
from service.protocol.acks import RoomListAck
from service.protocol.events import Invitation, RoomSummary, timestamp

MOST_LISTED = 1_000
"""Rooms and invitations on one page; fewer where they do not fit into a frame."""


class RoomList:
    """The lists, over a node's services."""

    def __init__(self, services: Services, views: Views) -> None:
        self._s = services
        self._views = views

    async def page(self, user: str, after: str | None) -> RoomListAck:
        """Return what a user is in or invited to, by room id, `after` exclusive.

        Raises:
            ProjectionBehind, Unavailable: the read models cannot be asked now.
        """
        bounds = {"after": after, "limit": MOST_LISTED + 1}
        found = await self._views.read(rooms.summaries, user, **bounds)
        await self._s.people.load(row.last_message.user_id for row in found if row.last_message)
        invited = await self._views.read(rooms.invitations, user, **bounds)
        entries = [*map(self._summary, found), *map(_invitation, invited)]
        entries.sort(key=lambda entry: entry.room_id)
        shown = self._fitting(entries[:MOST_LISTED])
        return RoomListAck(
            rooms=[entry for entry in shown if isinstance(entry, RoomSummary) and self._is_in(user, entry)],
            invitations=[entry for entry in shown if isinstance(entry, Invitation)],
            has_more=len(shown) < len(entries),
        )

    def _is_in(self, user: str, summary: RoomSummary) -> bool:
        """Return whether the membership holds still, as far as this node knows more than what was read."""
        state = self._s.hub.state(summary.room_id)
        return state is None or state.head < summary.head or user in state.members

    def _fitting(self, entries: list[RoomSummary | Invitation]) -> list[RoomSummary | Invitation]:
        """Return as many as a frame holds, at least one; where last messages do not fit, their rooms come without."""
        words, size = self._views.budget, self._views.budget // 2
        shown: list[RoomSummary | Invitation] = []
        for entry in entries:
            bare = entry
            if isinstance(entry, RoomSummary) and entry.last_message is not None:
                bare = msgspec.structs.replace(entry, last_message=None)
                words -= len(msgspec.json.encode(entry.last_message))
            size -= len(msgspec.json.encode(bare))
            if shown and size < 0:
                break
            shown.append(entry if words >= 0 else bare)
        return shown

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
            last_message=self._views.message(row.last_message) if row.last_message else None,
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
