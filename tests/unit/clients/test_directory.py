"""The list of rooms with its counts, as the Python client keeps it."""

from typing import Any

import pytest

from onrecord_client.directory import Directory
from onrecord_client.messages import Frame, Message

ME, ROOM = "alice", "general"
AT = "2026-11-24T10:00:00.000000Z"


def event(kind: str, seq: int | None = None, user: str = "bob", **fields: Any) -> Frame:
    numbered = {} if seq is None else {"seq": seq}
    return {"type": kind, "roomId": ROOM, "userId": user, "at": AT, **numbered, **fields}


def posted(seq: int, user: str = "bob", **fields: Any) -> Frame:
    return event("message:new", seq, user, **{"messageId": seq, "content": "hello", **fields})


def listed(unread: int = 0, mentions: int = 0, head: int = 10, last_read: int = 5) -> Directory:
    directory = Directory()
    row: dict[str, Any] = {
        "roomId": ROOM,
        "name": "General",
        "unread": unread,
        "mentions": mentions,
        "head": head,
    }
    directory.listed([{**row, "lastRead": last_read, "lastMessage": None}], ME, lambda _room, _seq: [])
    return directory


def counts(directory: Directory) -> tuple[int, int]:
    (summary,) = directory.summaries()
    return summary.unread, summary.mentions


@pytest.mark.parametrize(
    ("change", "expected", "stale"),
    [
        (posted(11), (3, 1), False),
        (posted(11, mentions=[ME]), (3, 2), False),
        (posted(11, ME), (2, 1), False),
        (posted(10), (2, 1), False),
        (event("message:read", None, ME, messageId=10), (0, 0), False),
        (event("message:read", None, ME, messageId=7), (2, 1), True),
        (event("message:read", None, "bob", messageId=10), (2, 1), False),
        (event("message:deleted", 11, messageId=8), (2, 1), True),
        (event("message:deleted", 11, messageId=4), (2, 1), False),
        (event("message:edited", 11, messageId=8, content="better"), (2, 1), False),
        (event("message:edited", 11, messageId=8, content=None), (2, 1), True),
        (event("message:unread", None, ME, lastRead=1), (2, 1), True),
        (event("room:content_removed", None, reason="expired"), (2, 1), True),
        (event("typing:start"), (2, 1), False),
    ],
    ids=str,
)
def test_an_event_changes_the_counts_or_makes_them_stale(
    change: Frame,
    expected: tuple[int, int],
    stale: bool,  # noqa: FBT001 - a row of the table
) -> None:
    directory = listed(unread=2, mentions=1)
    directory.apply(change, ME)
    assert (counts(directory), directory.stale) == (expected, stale)


def test_a_list_that_is_older_than_the_events_is_brought_up_to_them() -> None:
    directory = Directory()
    row: dict[str, Any] = {
        "roomId": ROOM,
        "unread": 1,
        "mentions": 0,
        "head": 10,
        "lastRead": 5,
        "lastMessage": None,
    }
    arrived = Message(ROOM, 11, 11, "bob", "hello", at=None)  # type: ignore[arg-type] # no time is needed
    directory.listed([row], ME, lambda room, seq: [arrived] if (room, seq) == (ROOM, 10) else [])
    assert counts(directory) == (2, 0)
    assert directory.summaries()[0].last_message == arrived


def test_a_room_that_the_list_lacks_makes_it_stale() -> None:
    directory = listed()
    directory.apply({**posted(1), "roomId": "other"}, ME)
    assert directory.stale


def test_a_room_that_the_user_left_is_gone_and_names_are_followed() -> None:
    directory = listed()
    assert directory.apply(event("room:updated", 11, name="Lobby"), ME)
    assert directory.summaries()[0].name == "Lobby"
    assert directory.apply(event("room:user_left", 12, ME, reason="left"), ME)
    assert directory.summaries() == []
