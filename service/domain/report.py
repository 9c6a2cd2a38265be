"""Reports of messages: who may report, and who may resolve a report.

Invariant: the author of a reported message never learns of the report, not even as the room's owner. To the author, the
report does not exist.
"""

from datetime import datetime

import msgspec

from service.domain.commands import ReportMessage, ResolveReport
from service.domain.events import Event, MessageReported, ReportResolved
from service.domain.message import MessageSummary
from service.domain.permissions import ranks, require_member, require_role
from service.domain.room_state import RoomState
from service.domain.streams import report_id, report_subject
from service.errors import MessageIsDeleted, MessageNotFound, NotAllowed, ReportNotFound, TooManyRequests


class ReportState(msgspec.Struct, frozen=True):
    """A report as of `head`, the seq of its stream; `author` is the message's, None if there is no such report."""

    head: int = 0
    author: str | None = None
    outcome: str | None = None


class Quota(msgspec.Struct, frozen=True):
    """Whether a user may report now: `wait` is the number of seconds until then, None if the user may.

    `admins` states whether administrators see reports.
    """

    wait: float | None = None
    admins: bool = False


def decide_report(
    state: RoomState,
    about: MessageSummary,
    present: ReportState,
    quota: Quota,
    command: ReportMessage,
    by: str,
    at: datetime,
) -> list[Event]:
    """Return the event of a report, or no event if the user reported the message before.

    Raises:
        RoomNotFound, Banned, NotAMember: the user is not a member.
        MessageNotFound, MessageIsDeleted: the user cannot read the message.
        NotAllowed: the message is the user's own, or no one could see the report.
        TooManyRequests: the user has made as many reports as allowed.
    """
    require_member(state, by, at)
    if about.author is None:
        raise MessageNotFound(room=state.room, message=command.message)
    if about.author == by:
        raise NotAllowed(problem="You cannot report your own message.")
    if present.author is not None:
        return []
    if about.deleted:
        raise MessageIsDeleted(room=state.room, message=command.message)
    if state.visibility == "direct" and not quota.admins:
        raise NotAllowed(problem="A direct room has no moderators, so no one would see the report.")
    if quota.wait is not None:
        raise TooManyRequests(retryAfter=quota.wait)
    report = report_id(state.room, command.message, by)
    return [
        MessageReported(report=report, message=command.message, author=about.author, reason=command.reason)
    ]


def require_reader(state: RoomState, by: str, at: datetime) -> None:
    """Raise unless a user may see the reports of a room.

    Raises:
        RoomNotFound, Banned, NotAMember: the user is not a member.
        NotAllowed: the user is neither a moderator nor an owner, or the room is direct.
    """
    require_member(state, by, at)
    require_role(state, by, "moderator", "see and resolve reports")
    if state.visibility == "direct":
        raise NotAllowed(problem="A direct room has no moderators, who would see reports.")


def readers(state: RoomState) -> list[str]:
    """Return the users who may see the reports of a room, also those whose messages they are about."""
    return (
        []
        if state.visibility == "direct"
        else [user for user in state.members if ranks(state, user, "moderator")]
    )


def decide_resolution(present: ReportState, command: ResolveReport, by: str) -> list[Event]:
    """Return the event of a resolution by a user who may see reports, or no event if the outcome is the same already.

    Raises:
        ReportNotFound: there is no such report, or it is about a message of the user.
        NotAllowed: the report has another outcome.
    """
    if present.author is None or present.author == by:
        raise ReportNotFound(room=command.room, report=command.report)
    if present.outcome == command.outcome:
        return []
    if present.outcome is not None:
        raise NotAllowed(problem=f"The report is resolved already: {present.outcome}.")
    return [ReportResolved(report=command.report, outcome=command.outcome, note=command.note)]


def guard(report: str) -> tuple[str, ...]:
    """Return the subject that a decision on a report relied on."""
    return (report_subject(report),)
