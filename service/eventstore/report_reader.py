"""Reads the reports of messages: those that are open, and what a decision on a report depends on.

The table `reports` selects them, so the cost of a read does not depend on how many reports there were. It holds no
content: reasons and notes are read from the log.
"""

import msgspec

from service.domain.events import Recorded
from service.domain.report import ReportState
from service.domain.streams import report_stream, report_subject, stream_id
from service.eventstore.event_queries import EventQueries
from service.eventstore.serializer import ROW


class ReportEvent(msgspec.Struct, frozen=True):
    """An event about a report of `message`, a number in its room, whose author is `author`."""

    recorded: Recorded
    message: int
    author: str


class ReportReader(EventQueries):
    """Reads reports as of now."""

    async def report(self, room: str, report: str) -> ReportState:
        """Return a report of a room, and the head of the stream of the room's reports."""
        row = (await self._fetch(_REPORT, stream_id(report_stream(room)), report_subject(report)))[0]
        return ReportState(head=row["head"], author=row["author"], outcome=row["outcome"])

    async def wait(self, user: str, limit: int) -> float | None:
        """Return the seconds until a user has made fewer than `limit` reports in a day, None if so now."""
        rows = await self._fetch(_WAIT, user, limit)
        return max(1.0, float(round(rows[0]["wait"]))) if rows else None

    async def place(self, report: str, viewer: str) -> tuple[str, int] | None:
        """Return the stream and the position of a report, None if there is none that `viewer` may see."""
        rows = await self._fetch(_PLACE, report_subject(report), viewer)
        return (rows[0]["stream"], rows[0]["position"]) if rows else None

    async def open(self, room: str | None, viewer: str, after: int, limit: int) -> list[ReportEvent]:
        """Return open reports of a room (None: of all) after a position, by position, but those about the viewer."""
        if room is None:
            return await self._events(_OPEN_ANYWHERE, viewer, after, limit)
        return await self._events(_OPEN, viewer, after, limit, stream_id(report_stream(room)))

    async def between(self, after: int, until: int, limit: int) -> list[ReportEvent]:
        """Return the newest `limit` events about reports with `after` < position <= `until`, by position."""
        return (await self._events(_BETWEEN, after, until, limit))[::-1]

    async def _events(self, query: str, *arguments: object) -> list[ReportEvent]:
        return [
            ReportEvent(self._serializer.read(row), row["message"], row["author"])
            for row in await self._fetch(query, *arguments)
        ]


_REPORT = """
    SELECT (SELECT coalesce(max(originator_version), 0) FROM stored_events WHERE originator_id = $1) AS head,
        r.author, r.outcome
    FROM (VALUES (1)) one LEFT JOIN reports r ON r.originator_id = $1 AND r.subject = $2
"""
_WAIT = """
    SELECT extract(epoch FROM min(reported_at) + interval '1 day' - clock_timestamp()) AS wait
    FROM (
        SELECT reported_at FROM reports
        WHERE reported_by = $1 AND reported_at > clock_timestamp() - interval '1 day'
        ORDER BY reported_at DESC LIMIT $2) latest
    HAVING count(*) >= $2
"""
_PLACE = """
    SELECT e.stream, r.position
    FROM reports r JOIN stored_events e ON e.originator_id = r.originator_id AND e.originator_version = r.seq
    WHERE r.subject = $1 AND r.author <> $2
"""
_LISTED = f"""
    SELECT r.message, r.author, {ROW}
    FROM (
        SELECT * FROM reports
        WHERE outcome IS NULL AND author <> $1 AND position > $2 {{condition}}
        ORDER BY position LIMIT $3) r
    JOIN readable_events e ON e.originator_id = r.originator_id AND e.originator_version = r.seq
    LEFT JOIN open_keys k ON k.key_id = e.key_id
    ORDER BY r.position
"""  # noqa: S608 - constants
_OPEN = _LISTED.format(condition="AND originator_id = $4")
_OPEN_ANYWHERE = _LISTED.format(condition="")
_BETWEEN = f"""
    SELECT r.message, r.author, {ROW}
    FROM readable_events e JOIN reports r ON r.subject = e.subject AND r.originator_id = e.originator_id
    LEFT JOIN open_keys k ON k.key_id = e.key_id
    WHERE e.notification_id > $1 AND e.notification_id <= $2 AND starts_with(e.stream, 'report:')
    ORDER BY e.notification_id DESC LIMIT $3
"""  # noqa: S608 - constants
