"""The lists of open reports: a room's, for its moderators and owners, and all, for administrators."""

from dataclasses import dataclass

from service.audit.access_log import AccessLog
from service.domain.events import AuditRead
from service.domain.report import require_reader
from service.domain.streams import report_stream
from service.errors import NotAllowed, ReportNotFound
from service.eventstore.report_reader import ReportReader
from service.gateway.queries.queries import Asker
from service.gateway.queries.views import Views
from service.protocol import commands as wire
from service.protocol.acks import ReportListAck
from service.protocol.reports import AllReportsQuery, report_of


@dataclass(frozen=True)
class ReportQueries:
    """The queries; `admins` states whether administrators see reports."""

    reports: ReportReader
    views: Views
    access_log: AccessLog
    admins: bool

    async def of_room(self, asker: Asker, frame: wire.ReportList) -> ReportListAck:
        """`report:list`."""
        await self.views.ask(require_reader, frame.room_id, asker.user)
        page = await self._page(frame.room_id, asker.user, frame.after, frame.limit)
        await self.views.ask(require_reader, frame.room_id, asker.user)  # may have changed during the query
        return page

    async def of_all_rooms(self, admin: Asker, query: AllReportsQuery) -> ReportListAck:
        """List the open reports of all rooms; the read is recorded."""
        self.require_admins()
        await self.access_log.record(AuditRead(what="reports", via="http"), admin.user)
        return await self._page(None, admin.user, query.after, query.limit)

    def require_admins(self) -> None:
        """Raise unless administrators see reports.

        Raises:
            NotAllowed: they do not.
        """
        if not self.admins:
            raise NotAllowed(problem="This installation does not show reports to administrators.")

    async def _page(self, room: str | None, viewer: str, after: str | None, limit: int) -> ReportListAck:
        position = 0
        if after is not None:
            place = await self.reports.place(after, viewer)
            if place is None or (room is not None and place[0] != report_stream(room)):
                raise ReportNotFound(room=room or "any room", report=after)
            position = place[1]
        found = await self.reports.open(room, viewer, position, limit + 1)
        shown = [report for event in found[:limit] if (report := report_of(event.recorded)) is not None]
        return ReportListAck(reports=shown, has_more=len(found) > limit)
