"""The user's rooms, with their counts of unread messages. Pure.

Invariant: a count is what `room:list` said, changed by the events since. Where an event does not say how it changes,
the directory is stale until the list is asked for again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from onrecord_client.messages import CHANGES, Frame, Message, changed, from_wire


@dataclass(frozen=True, slots=True)
class RoomSummary:
    """A room of the user. `unread` counts messages of others, `mentions` those among them that mention the user."""

    id: str
    name: str
    unread: int = 0
    mentions: int = 0
    last_message: Message | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A room with the event as of which, and the message after which, its messages are counted."""

    summary: RoomSummary
    head: int = 0
    last_read: int = 0


class Directory:
    """The rooms by id. `stale` says that the list has to be asked again."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self.stale = True

    def summaries(self) -> list[RoomSummary]:
        """Return the rooms, by id."""
        return [row.summary for _, row in sorted(self._rows.items())]

    def find(self, room_id: str) -> RoomSummary | None:
        """Return a room."""
        row = self._rows.get(room_id)
        return None if row is None else row.summary

    def listed(self, rooms: Iterable[Frame], me: str, later: Callable[[str, int], list[Message]]) -> None:
        """Take the whole list. `later(room, seq)` returns the messages after a seq that have arrived already."""
        rows = {}
        for each in rooms:
            row = _row(each, me)
            for message in later(each["roomId"], row.head):
                row = _with_message(row, message, me)
            rows[each["roomId"]] = row
        self._rows, self.stale = rows, False

    def read(self, room_id: str, message_id: int) -> None:
        """The user has read a room up to a message."""
        row = self._rows.get(room_id)
        if row is None or message_id <= row.last_read:
            return
        last = row.summary.last_message
        if message_id >= row.head or (last is not None and message_id >= last.message_id):
            self._rows[room_id] = replace(
                row, last_read=message_id, summary=replace(row.summary, unread=0, mentions=0)
            )
        else:
            self._rows[room_id] = replace(row, last_read=message_id)
            self.stale = True

    def apply(self, event: Frame, me: str) -> bool:
        """Apply an event; return whether it may have changed the directory."""
        room_id, kind = event.get("roomId"), event["type"]
        if not isinstance(room_id, str):
            return False
        row = self._rows.get(room_id)
        if kind == "room:user_left" and event["userId"] == me and "seq" in event:
            return self._rows.pop(room_id, None) is not None
        if row is None:
            self.stale = self.stale or "seq" in event
            return False
        if kind == "message:read" and event["userId"] == me:
            self.read(room_id, event["messageId"])
            return True
        if kind in ("message:unread", "room:content_removed"):
            self.stale = True
            return False
        return self._numbered(room_id, row, event, me)

    def _numbered(self, room_id: str, row: Row, event: Frame, me: str) -> bool:
        seq = event.get("seq")
        if not isinstance(seq, int) or seq <= row.head:
            return False
        if event["type"] == "message:new":
            self._rows[room_id] = _with_message(row, from_wire(event, me), me)
            return True
        self._rows[room_id] = after = replace(row, head=seq, summary=_after(row.summary, event, me))
        unreadable = event["type"] == "message:deleted" or event.get("content", "") is None
        if unreadable and event["messageId"] > row.last_read and row.summary.unread:
            self.stale = True
        return after.summary is not row.summary


def _after(summary: RoomSummary, event: Frame, me: str) -> RoomSummary:
    if event["type"] == "room:updated" and event.get("name"):
        return replace(summary, name=event["name"])
    last = summary.last_message
    if event["type"] in CHANGES and last is not None and last.message_id == event["messageId"]:
        return replace(summary, last_message=changed(last, event, me))
    return summary


def _with_message(row: Row, message: Message, me: str) -> Row:
    counts = message.user_id != me and message.content is not None and message.seq > row.last_read
    summary = replace(
        row.summary,
        unread=row.summary.unread + counts,
        mentions=row.summary.mentions + (counts and me in message.mentions),
        last_message=message,
    )
    return replace(row, head=max(row.head, message.seq), summary=summary)


def _row(frame: Frame, me: str) -> Row:
    last = frame.get("lastMessage")
    room_id = frame["roomId"]
    summary = RoomSummary(
        id=room_id,
        name=frame.get("name") or room_id,
        unread=frame.get("unread", 0),
        mentions=frame.get("mentions", 0),
        last_message=from_wire({"roomId": room_id, **last}, me) if last else None,
    )
    return Row(summary, frame.get("head", 0), frame.get("lastRead") or 0)
