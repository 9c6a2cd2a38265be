"""What can be read of a chat over HTTP: the table of reads.

A read has the rules and payloads of the command it stands for, and goes through the same code; each counts as one
command.
"""

from projections import directory
from service.domain.room import RoomState, require_member, visible_until
from service.errors import NotAMember
from service.gateway.http.endpoint import Caller, Read
from service.gateway.queries.queries import Queries
from service.gateway.queries.room_list import RoomList
from service.gateway.queries.views import Views
from service.gateway.services import Services
from service.protocol import commands
from service.protocol.acks import MessageHistoryAck, RoomListAck, RoomMembersAck
from service.protocol.events import timestamp
from service.protocol.http import Directory, DirectoryQuery, ReceiptList, RoomEntry, RoomQuery, RoomView


class Reads:
    """The reads, over a node's services."""

    def __init__(self, services: Services) -> None:
        self._s = services
        self._views = Views(services)
        self._showing = Queries(self._views, RoomList(services, self._views))

    async def public_rooms(self, _visitor: Caller, query: DirectoryQuery) -> Directory:
        """List the public rooms, by id."""
        page = await self._views.read(directory.public_rooms, after=query.after, limit=query.limit)
        entries = [
            RoomEntry(
                room_id=row.room_id,
                name=row.name,
                visibility=row.visibility,
                created_at=timestamp(row.created_at),
            )
            for row in page.rooms
        ]
        return Directory(rooms=entries, has_more=page.has_more)

    async def room(self, visitor: Caller, query: RoomQuery) -> RoomView:
        """Show one room; a private room and a missing one look the same to an outsider."""
        room, user = query.room_id, visitor.user
        until = await self._seen_until(room, user)
        state = (await self._s.hub.feed(room)).state
        if until and state.visibility != "public" and user not in state.invited:
            # A former member is shown the name as it stood at the leave, and nothing that changed since.
            name = await self._s.log.room_name(room, until)
            if await self._seen_until(room, user) == until:
                return view_of(state, user, until, name)
            return await self.room(visitor, query)  # the membership changed while the name was read
        return view_of(state, user, until)

    async def _seen_until(self, room: str, user: str) -> int | None:
        """Return the last seq that a user may read, 0 in a room that they may know of and were never in."""
        try:
            return await self._views.ask(visible_until, room, user)
        except NotAMember:
            return 0  # a public room is there for everybody

    async def messages(self, visitor: Caller, query: commands.MessageHistory) -> MessageHistoryAck:
        """Read a page of messages, oldest first, as `message:history` does."""
        return await self._showing.history(visitor, query)

    async def members(self, visitor: Caller, query: commands.RoomMembers) -> RoomMembersAck:
        """List members, by user id, as `room:members` does."""
        return await self._showing.members(visitor, query)

    async def receipts(self, visitor: Caller, query: RoomQuery) -> ReceiptList:
        """Tell how far everybody has read, as `room:receipts` does."""
        await self._views.ask(require_member, query.room_id, visitor.user)
        found = await self._views.receipts(query.room_id)
        await self._views.ask(require_member, query.room_id, visitor.user)  # the read model was waited for
        return ReceiptList(receipts=found.receipts)

    async def my_rooms(self, visitor: Caller, query: commands.RoomList) -> RoomListAck:
        """List one's rooms with their unread counts, as `room:list` does."""
        return await self._showing.list_rooms(visitor, query)


_OF_A_MEMBER = ("room_not_found", "not_a_member", "banned")
READS = (
    Read("/api/rooms", DirectoryQuery, Directory, Reads.public_rooms),
    Read("/api/rooms/{roomId}", RoomQuery, RoomView, Reads.room, ("room_not_found", "banned")),
    Read(
        "/api/rooms/{roomId}/messages",
        commands.MessageHistory,
        MessageHistoryAck,
        Reads.messages,
        _OF_A_MEMBER,
    ),
    Read(
        "/api/rooms/{roomId}/members",
        commands.RoomMembers,
        RoomMembersAck,
        Reads.members,
        _OF_A_MEMBER,
    ),
    Read("/api/rooms/{roomId}/receipts", RoomQuery, ReceiptList, Reads.receipts, _OF_A_MEMBER),
    Read("/api/me/rooms", commands.RoomList, RoomListAck, Reads.my_rooms),
)
"""Every read. What a command stands for is shown to the same people here and there."""


def view_of(state: RoomState, user: str, until: int | None, name: str | None = None) -> RoomView:
    """Return a room as a user may see it who may read it up to the seq `until`: None without end, 0 nothing.

    `name` is what it was called by then, None where the present name is open to the user.
    """
    inside = state.members.get(user)
    return RoomView(
        room_id=state.room,
        name=state.name if name is None else name,
        visibility=state.visibility,
        role=inside.role if inside else None,
        head=state.head if until is None else until or None,
        members=len(state.members) if inside or state.visibility == "public" else None,
    )
