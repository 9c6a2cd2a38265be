"""The reads of the chat over HTTP. A read that corresponds to a command shares its rules, payloads and code."""

from dataclasses import dataclass

from projections import rooms
from service.audit.export.own_data import OwnData
from service.domain.content.names import shown_room
from service.domain.room import RoomState, require_member, visible_until
from service.errors import NotAMember
from service.eventstore.read_database import ReadModels
from service.eventstore.reader import LogReader
from service.gateway.auth.claims import ADMIN
from service.gateway.http.endpoint import NDJSON, Caller, Chunks, Read
from service.gateway.queries.queries import Queries
from service.gateway.queries.reports import ReportQueries
from service.gateway.queries.views import Views
from service.protocol import commands
from service.protocol.acks import (
    MessageHistoryAck,
    ReportListAck,
    RoomDirectoryAck,
    RoomListAck,
    RoomMembersAck,
)
from service.protocol.audit import EventLine
from service.protocol.events import timestamp
from service.protocol.http import (
    Directory,
    DirectoryQuery,
    OwnDataQuery,
    ReceiptList,
    RoomEntry,
    RoomQuery,
    RoomView,
)
from service.protocol.reports import AllReportsQuery
from service.realtime.room_feeds import RoomFeeds


@dataclass(frozen=True)
class Reads:
    """Serves the reads."""

    models: ReadModels
    views: Views
    queries: Queries
    feeds: RoomFeeds
    log: LogReader
    room_reports: ReportQueries
    own_data: OwnData

    async def public_rooms(self, _caller: Caller, query: DirectoryQuery) -> Directory:
        """List the public rooms, by id."""
        page = await self.models.read(rooms.public_rooms, after=query.after, limit=query.limit)
        entries = [
            RoomEntry(
                room_id=row.room_id,
                name=shown_room(row.name, row.room_id),
                visibility=row.visibility,
                created_at=timestamp(row.created_at),
            )
            for row in page.rooms
        ]
        return Directory(rooms=entries, has_more=page.has_more)

    async def directory(self, caller: Caller, query: commands.RoomDirectory) -> RoomDirectoryAck:
        """List and search the public rooms that are not archived, by name, as `room:directory` does."""
        return await self.queries.directory(caller, query)

    async def room(self, caller: Caller, query: RoomQuery) -> RoomView:
        """Show one room; a private room and a missing one look the same to an outsider."""
        room, user = query.room_id, caller.user
        until = await self._readable_until(room, user)
        state = (await self.feeds.feed(room)).state
        if until and state.visibility != "public" and user not in state.invited:
            # A former member sees the name as it was when they left.
            name = await self.log.room_name(room, until)
            if await self._readable_until(room, user) == until:
                return view_of(state, user, until, name)
            return await self.room(caller, query)  # the membership has changed while the name was read
        return view_of(state, user, until)

    async def _readable_until(self, room: str, user: str) -> int | None:
        """Return the last seq that a user may read, 0 in a public room that the user was never in."""
        try:
            return await self.views.ask(visible_until, room, user)
        except NotAMember:
            return 0

    async def messages(self, caller: Caller, query: commands.MessageHistory) -> MessageHistoryAck:
        """Read a page of messages, oldest first, as `message:history` does."""
        return await self.queries.history(caller, query)

    async def members(self, caller: Caller, query: commands.RoomMembers) -> RoomMembersAck:
        """List members, by user id, as `room:members` does."""
        return await self.queries.members(caller, query)

    async def receipts(self, caller: Caller, query: RoomQuery) -> ReceiptList:
        """List how far each member has read, as `room:receipts` does."""
        await self.views.ask(require_member, query.room_id, caller.user)
        found = await self.views.receipts(query.room_id)
        await self.views.ask(require_member, query.room_id, caller.user)  # may have changed during the query
        return ReceiptList(receipts=found.receipts)

    async def reports(self, caller: Caller, query: commands.ReportList) -> ReportListAck:
        """List a room's open reports, the oldest first, as `report:list` does."""
        return await self.room_reports.of_room(caller, query)

    async def all_reports(self, caller: Caller, query: AllReportsQuery) -> ReportListAck:
        """List the open reports of all rooms, the oldest first, if administrators see them; recorded as a reading."""
        return await self.room_reports.of_all_rooms(caller, query)

    async def my_rooms(self, caller: Caller, query: commands.RoomList) -> RoomListAck:
        """List the caller's rooms with their unread counts, as `room:list` does."""
        return await self.queries.list_rooms(caller, query)

    async def export(self, caller: Caller, _query: OwnDataQuery) -> Chunks:
        """Export the caller's own data: the events by and about them, an event a line, by position."""
        return await self.own_data.export(caller.user)


_OF_A_MEMBER = ("room_not_found", "not_a_member", "banned")
READS = (
    Read("/api/rooms", DirectoryQuery, Directory, Reads.public_rooms),
    Read("/api/directory", commands.RoomDirectory, RoomDirectoryAck, Reads.directory),
    Read("/api/rooms/{roomId}", RoomQuery, RoomView, Reads.room, ("room_not_found", "banned")),
    Read(
        "/api/rooms/{roomId}/messages",
        commands.MessageHistory,
        MessageHistoryAck,
        Reads.messages,
        _OF_A_MEMBER,
    ),
    Read("/api/rooms/{roomId}/members", commands.RoomMembers, RoomMembersAck, Reads.members, _OF_A_MEMBER),
    Read("/api/rooms/{roomId}/receipts", RoomQuery, ReceiptList, Reads.receipts, _OF_A_MEMBER),
    Read(
        "/api/rooms/{roomId}/reports",
        commands.ReportList,
        ReportListAck,
        Reads.reports,
        (*_OF_A_MEMBER, "report_not_found"),
    ),
    Read("/admin/reports", AllReportsQuery, ReportListAck, Reads.all_reports, ("report_not_found",), ADMIN),
    Read("/api/me/rooms", commands.RoomList, RoomListAck, Reads.my_rooms),
    Read("/api/me/export", OwnDataQuery, EventLine, Reads.export, media=NDJSON),
)
"""Every read."""


def view_of(state: RoomState, user: str, until: int | None, name: str | None = None) -> RoomView:
    """Return a room as seen by a user who may read it up to the seq `until` (None: all of it, 0: nothing).

    `name` is the room's name as of `until`, None if the user may see the present one.
    """
    member = state.members.get(user)
    return RoomView(
        room_id=state.room,
        name=shown_room(state.name if name is None else name, state.room),
        visibility=state.visibility,
        role=member.role if member else None,
        head=state.head if until is None else until or None,
        members=len(state.members) if member or state.visibility == "public" else None,
    )
