"""Events of the room `general`, and queries for its pages."""

from projections import messages, rooms
from projections.messages import Page
from service.domain.events import (
    MemberJoined,
    MemberLeft,
    MessageDeleted,
    MessagePosted,
    PersonNamed,
    ReadMarkerMoved,
    RoomOpened,
    UnreadMarkerMoved,
)
from service.domain.streams import person_stream, reader_stream, room_stream
from tests.support.oracles.projected_log import Act, World

GENERAL = room_stream("general")


OPENED: Act = ("alice", GENERAL, (RoomOpened(name="General"), MemberJoined(user="alice", role="owner")))


def said(content: str, by: str = "alice", *mentions: str) -> Act:
    return by, GENERAL, (MessagePosted(author=by, content=content, ref="ref", mentions=mentions),)


def read(message: int, by: str = "alice") -> Act:
    return by, reader_stream("general", by), (ReadMarkerMoved(user=by, message=message),)


def unread_after(message: int, marker: int, by: str = "alice") -> Act:
    return by, reader_stream("general", by), (UnreadMarkerMoved(user=by, message=message, marker=marker),)


def joined(by: str) -> Act:
    return by, GENERAL, (MemberJoined(user=by),)


def named(by: str, name: str | None) -> Act:
    return by, person_stream(by), (PersonNamed(user=by, name=name),)


def left(by: str) -> Act:
    return by, GENERAL, (MemberLeft(user=by),)


def deleted(message: int, by: str = "alice") -> Act:
    return by, GENERAL, (MessageDeleted(message=message),)


async def page(here: World, **bounds: int | None) -> Page:
    return await messages.page(here.reads, here.node.serializer, "general", **{"limit": 3, **bounds})  # type: ignore[arg-type] # a limit is always there


async def one_room(here: World, user: str) -> rooms.SummaryRow:
    (row,) = (await rooms.summaries(here.reads, here.node.serializer, user)).rows
    return row
