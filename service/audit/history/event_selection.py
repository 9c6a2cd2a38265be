"""Decides which events of a page concern a room or a person: by stream, subject and author, or by a field.

`AsOfReader.events_between` selects by stream, subject and author. Of the topics that have a room or a person in a field
it returns every event, and this module keeps those that concern the room and the person.
"""

from collections.abc import Sequence

from service.domain.events import (
    AboutMessage,
    AuditRead,
    ContentExpired,
    HoldPlaced,
    HoldReleased,
    KeyReplaced,
    MessagePinned,
    MessageReported,
    MessageUnpinned,
    Recorded,
    ReportResolved,
    SessionClosed,
)
from service.domain.streams import reader_stream, report_stream, room_stream, room_subject
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.event_queries import EventFilter

_OF_A_ROOM = ("room.", "reader.", "report.")
"""How the topics of events begin whose streams are of one room."""

_NAMING_A_ROOM = {
    event.TOPIC for event in (AuditRead, ContentExpired, HoldPlaced, HoldReleased, KeyReplaced, SessionClosed)
}

_ABOUT_A_MESSAGE = (AboutMessage, MessagePinned, MessageUnpinned)


def can_concern_a_room(topic: str) -> bool:
    """Return whether an event of this topic can concern a room."""
    return topic.startswith(_OF_A_ROOM) or topic in _NAMING_A_ROOM


async def select(reader: AsOfReader, page: Sequence[Recorded], which: EventFilter) -> list[Recorded]:
    """Return the events of a page that pass a filter, in order.

    Raises:
        Unavailable: the log cannot be read.
    """
    topic, room, person = which.topic, which.room, which.person
    found = [
        recorded
        for recorded in page
        if topic in (None, recorded.topic) and (room is None or concerns_room(recorded, room))
    ]
    if person is None or not found:
        return found
    sure = [recorded for recorded in found if _names(recorded, which)]
    others = [recorded for recorded in found if not _names(recorded, which)]
    kept = {recorded.position for recorded in sure + await _on_messages_of(reader, others, person)}
    return [recorded for recorded in found if recorded.position in kept]


def concerns_room(recorded: Recorded, room: str) -> bool:
    """Return whether an event is in a stream of a room, about the room, or has the room in a field."""
    match recorded.event:
        case SessionClosed(ranges=ranges):
            return room in (ranges or {})
        case KeyReplaced(rooms=rooms):
            return room in rooms
    own = recorded.stream in (room_stream(room), report_stream(room))
    return (
        own or recorded.stream.startswith(reader_stream(room, "")) or recorded.subject == room_subject(room)
    )


def _names(recorded: Recorded, which: EventFilter) -> bool:
    """Return whether an event is by or about the person, in a stream of theirs, or has them in a field."""
    named = (getattr(recorded.event, field, None) for field in ("person", "author"))
    about = which.person in (recorded.by, *named) or recorded.subject == which.subject
    return about or recorded.stream in which.streams


async def _on_messages_of(reader: AsOfReader, page: Sequence[Recorded], person: str) -> list[Recorded]:
    """Return the events about a message of the person, or about a report of one."""
    messages = {
        recorded.position: (recorded.stream, recorded.event.message)
        for recorded in page
        if isinstance(recorded.event, _ABOUT_A_MESSAGE)
    }
    reports = {
        recorded.position: (recorded.stream, recorded.subject)
        for recorded in page
        if isinstance(recorded.event, ReportResolved)
    }
    theirs: set[tuple[str, int | str]] = set()
    if messages:
        theirs |= await reader.recorded_by(person, set(messages.values()))
    if reports:
        begun = await reader.first_about(set(reports.values()), MessageReported.TOPIC)
        theirs |= {
            (each.stream, each.subject)
            for each in begun
            if isinstance(each.event, MessageReported) and each.event.author == person
        }
    return [
        recorded
        for recorded in page
        if messages.get(recorded.position) in theirs or reports.get(recorded.position) in theirs
    ]
