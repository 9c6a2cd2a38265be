"""Sends reports of messages, and their resolutions, to the connected moderators and owners of the room.

The log tailer calls it, so a report arrives on every node with the next poll of the log, even without the bus.

Invariant: the author of a reported message is sent nothing about it.
"""

import msgspec

from service.domain.report import readers
from service.domain.streams import room_of
from service.eventstore.report_reader import ReportEvent, ReportReader
from service.gateway.session.registry import SessionRegistry
from service.protocol.reports import notice_of
from service.realtime.room_feeds import RoomFeeds

MAX_NOTICES = 200
"""Events about reports that are sent after one poll, the newest; `report:list` has all."""


class ReportNotices(msgspec.Struct, frozen=True):
    """Notifies the connections of this node."""

    sessions: SessionRegistry
    feeds: RoomFeeds
    reports: ReportReader

    async def send(self, after: int, until: int) -> None:
        """Send the events about reports with `after` < position <= `until`.

        Raises:
            Unavailable: the log cannot be read.
        """
        if not len(self.sessions):
            return
        by_room: dict[str, list[ReportEvent]] = {}
        for event in await self.reports.between(after, until, MAX_NOTICES):
            by_room.setdefault(room_of(event.recorded.stream), []).append(event)
        for room, events in by_room.items():
            users = readers((await self.feeds.refresh(room)).state)
            for event in events:
                self._emit(event, users)

    def _emit(self, event: ReportEvent, users: list[str]) -> None:
        notice = notice_of(event.recorded, event.message)
        for user in users:
            if notice is None or user == event.author:
                continue
            for session in self.sessions.of_user(user):
                if session.connected and not session.closing:
                    session.emit(notice)
