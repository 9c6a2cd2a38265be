"""Reports of messages as moderators and administrators receive them, in events, acks and over HTTP."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.domain import events as log
from service.domain.events import Outcome, Recorded
from service.domain.streams import room_of
from service.protocol.commands import Reason, ReportId, RoomId
from service.protocol.events import Outgoing, timestamp
from service.protocol.http import Query


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An open report by `userId` of a message by `authorId`; `reason` is null once the reporter is erased."""

    room_id: str
    report_id: str
    message_id: int
    author_id: str
    user_id: str
    reason: str | None
    at: str


class MessageReported(Outgoing, frozen=True, kw_only=True, tag="message:reported"):
    """A member reported a message; sent to the room's moderators and owners, but not to the message's author.

    Not part of the room's order, so without `seq`.
    """

    room_id: str
    report_id: str
    message_id: int
    author_id: str
    user_id: str
    reason: str | None
    at: str


class ReportResolved(Outgoing, frozen=True, kw_only=True, tag="report:resolved"):
    """The user resolved a report; sent to the receivers of `message:reported`.

    Not part of the room's order, so without `seq`.
    """

    room_id: str
    report_id: str
    message_id: int
    user_id: str
    outcome: str
    note: str | None = None
    at: str


class AllReportsQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A page of the open reports of all rooms, the oldest first; `after` is the last report id of the previous page."""

    after: ReportId | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class ReportQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A request about one report."""

    room_id: RoomId
    report_id: ReportId


class ToResolve(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of a resolution: what was done, and a note for the record."""

    outcome: Outcome
    note: Reason | None = None


class Resolved(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A report is resolved."""

    room_id: str
    report_id: str
    outcome: Outcome
    at: str


def report_of(recorded: Recorded) -> Report | None:
    """Return the report in an event, None if the event is damaged."""
    event = recorded.event
    if not isinstance(event, log.MessageReported):
        return None
    return Report(**_reported(recorded, event))


def notice_of(recorded: Recorded, message: int) -> Outgoing | None:
    """Return the wire event of an event about a report of a message, None if the event is damaged."""
    match recorded.event:
        case log.MessageReported() as event:
            return MessageReported(**_reported(recorded, event))
        case log.ReportResolved() as event:
            return ReportResolved(
                **_common(recorded, event), message_id=message, outcome=event.outcome, note=event.note
            )
        case _:
            return None


def _reported(recorded: Recorded, event: log.MessageReported) -> dict[str, Any]:
    return {
        **_common(recorded, event),
        "message_id": event.message,
        "author_id": event.author,
        "reason": event.reason,
    }


def _common(recorded: Recorded, event: log.AboutReport) -> dict[str, str]:
    return {
        "room_id": room_of(recorded.stream),
        "report_id": event.report,
        "user_id": recorded.by,
        "at": timestamp(recorded.at),
    }
