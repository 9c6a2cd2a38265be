"""What is known of one room: a fold of the frames about it. Pure: no socket, no clock, no task.

Invariant: the messages are ordered, and complete from `complete_from` on up to `cursor`. A numbered event is applied
once and in order: one that was applied before changes nothing, and one that leaves others out raises `Gap`.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from onrecord_client.messages import CHANGES, Frame, Message, applies_again, changed, from_wire

Change = tuple[str, object]
"""The name and the value of an event for listeners."""

KEPT = 2_000
"""Messages that a room keeps, besides those that `load_earlier` loaded. Older ones can be loaded again."""

RECENT = 100
"""The latest changes, which are applied again to pages that were read before them."""


class Gap(Exception):
    """An event of the room is missing before this one."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a room; `left` in the event of someone who is none any more."""

    user_id: str
    name: str | None = None
    role: str = "member"
    status: str = "offline"
    muted: bool = False
    left: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """A member has read up to a message."""

    user_id: str
    message_id: int


class RoomModel:
    """One room, from the page that follows a join on."""

    def __init__(self, room_id: str, me: str) -> None:
        self.room_id = room_id
        self.me = me
        self.name = room_id
        self.topic: str | None = None
        self.archived = False
        self.head = 0
        """The highest seq that is known to exist."""
        self.cursor = 0
        """The seq up to which every event has been applied, or is in the first page."""
        self.complete_from = 0
        """The lowest seq from which on no message is missing; 0 or 1: the whole room is loaded."""
        self.has_more = False
        self.messages: list[Message] = []
        self.members: dict[str, Member] = {}
        self.receipts: dict[str, int] = {}
        self.typing: list[str] = []
        self.kept = KEPT
        self._tolerated = 0
        self._recent: deque[Frame] = deque(maxlen=RECENT)

    def begin(self, cursor: int, head: int) -> None:
        """Receive the room from an event after `cursor` on, and at the latest from the one after `head` on."""
        self.cursor, self.head = cursor, max(head, self.head)
        self._tolerated = max(head, cursor)
        self.complete_from = self._tolerated + 1

    def first_page(self, messages: Iterable[Frame], *, has_more: bool) -> None:
        """Take the page that follows a join."""
        self.has_more, self.complete_from = has_more, 0
        self._merge(messages)
        if self.messages and has_more:
            self.complete_from = self.messages[0].seq
        elif has_more:
            self.complete_from = self.cursor + 1

    def earlier_page(self, messages: Iterable[Frame], *, has_more: bool) -> list[Message]:
        """Take the page before the oldest message; return its messages."""
        page = self._merge(messages)
        self.has_more = has_more
        self.complete_from = page[0].seq if page and has_more else 0
        self.kept = max(self.kept, len(self.messages) + KEPT // 2)
        return page

    @property
    def start(self) -> int:
        """The seq after which the first event follows that is not loaded. A new member's page ends before the join."""
        return max(self.cursor, self.messages[-1].seq if self.messages else 0)

    def read_page(self, frames: Iterable[Frame]) -> list[Message]:
        """Return the messages of a page that was asked before the latest events arrived, with these applied."""
        return [self._read(frame) for frame in frames]

    def after(self, seq: int) -> Message | None:
        """Return the first message after a seq, None if there is none yet."""
        index = bisect_left(self.messages, seq + 1, key=_seq)
        return self.messages[index] if index < len(self.messages) else None

    def find(self, message_id: int) -> Message | None:
        """Return a loaded message."""
        index = self._index(message_id)
        return None if index is None else self.messages[index]

    def apply(self, event: Frame) -> list[Change]:
        """Apply an event, and return what listeners are to know.

        Raises:
            Gap: the event is numbered, and the one before it is missing.
            KeyError, TypeError, ValueError: the event lacks what its type requires. It counts as applied.
        """
        seq = event.get("seq")
        if isinstance(seq, int):
            if seq <= self.cursor:
                return []
            if seq > max(self.cursor, self._tolerated) + 1:
                raise Gap(f"event {seq} of {self.room_id} follows {self.cursor}")
            self.cursor, self._tolerated = seq, 0
            self.head = max(self.head, seq)
        if event["type"] in CHANGES:
            return self._change(event)
        handler = HANDLERS.get(event["type"])
        return [] if handler is None else handler(self, event)

    def _change(self, event: Frame) -> list[Change]:
        self._recent.append(event)
        index = self._index(event["messageId"])
        if index is None:
            return []
        after = changed(self.messages[index], event, self.me)
        if after == self.messages[index]:
            return []
        self.messages[index] = after
        return [("change", after)]

    def _posted(self, event: Frame) -> list[Change]:
        message = from_wire(event, self.me)
        typing = self._quiet(message.user_id)
        if self._index(message.seq) is not None:
            return typing  # the page that followed the join had it
        self.messages.append(message)
        if len(self.messages) > self.kept:
            del self.messages[: len(self.messages) - self.kept * 3 // 4]
            self.complete_from, self.has_more = self.messages[0].seq, True
        return [*typing, ("message", message)]

    def _merge(self, frames: Iterable[Frame]) -> list[Message]:
        page = self.read_page(frames)
        by_seq = {message.seq: message for message in (*page, *self.messages)}
        self.messages = sorted(by_seq.values(), key=_seq)
        return page

    def _read(self, frame: Frame) -> Message:
        message = from_wire({"roomId": self.room_id, **frame}, self.me)
        for event in self._recent:
            if event["messageId"] == message.message_id and applies_again(event, message, self.me):
                message = changed(message, event, self.me)
        return message

    def _index(self, seq: int) -> int | None:
        index = bisect_left(self.messages, seq, key=_seq)
        return index if index < len(self.messages) and self.messages[index].seq == seq else None

    def _quiet(self, user: str) -> list[Change]:
        if user not in self.typing:
            return []
        self.typing = [each for each in self.typing if each != user]
        return [("typing", [*self.typing])]

    def _typing_start(self, event: Frame) -> list[Change]:
        if event["userId"] in self.typing:
            return []
        self.typing = [*self.typing, event["userId"]]
        return [("typing", [*self.typing])]

    def _typing_stop(self, event: Frame) -> list[Change]:
        return self._quiet(event["userId"])

    def _receipt(self, event: Frame) -> list[Change]:
        user, message_id = event["userId"], event["messageId"]
        if message_id <= self.receipts.get(user, 0):
            return []
        self.receipts[user] = message_id
        return [("receipt", Receipt(user, message_id))]

    def _receipts(self, event: Frame) -> list[Change]:
        return [change for each in event["receipts"] for change in self._receipt(each)]

    def _members(self, event: Frame) -> list[Change]:
        for each in event["members"]:
            self._put(
                each["userId"],
                name=each.get("name"),
                role=each.get("role", "member"),
                status=each.get("status", "offline"),
                muted=each.get("muted") is True,
            )
        return []

    def _joined(self, event: Frame) -> list[Change]:
        if "seq" not in event:  # the user is connected again
            return self._status(event["userId"], "online")
        fields = {"name": event.get("name"), "role": event.get("role", "member"), "status": "online"}
        return [("member", self._put(event["userId"], **fields))]

    def _left(self, event: Frame) -> list[Change]:
        user = event["userId"]
        if "seq" not in event:  # the user's last connection has ended
            return self._status(user, "offline")
        member = self.members.pop(user, None) or Member(user)
        return [*self._quiet(user), ("member", replace(member, status="offline", left=True))]

    def _updated_member(self, event: Frame) -> list[Change]:
        known = self.members.get(event["userId"])
        if known is None:
            return []
        muted = event.get("muted", known.muted) is True
        return [("member", self._put(known.user_id, role=event.get("role", known.role), muted=muted))]

    def _presence(self, event: Frame) -> list[Change]:
        return self._status(event["userId"], event["status"])

    def _updated(self, event: Frame) -> list[Change]:
        self.name = event.get("name") or self.name
        self.topic = event.get("topic", self.topic)
        self.archived = event.get("archived", self.archived) is True
        return []

    def _removed(self, event: Frame) -> list[Change]:
        """Content is gone without a numbered event; that of expired messages goes when they are loaded again."""
        if event["reason"] != "erased":
            return []
        changes: list[Change] = []
        for index, message in enumerate(self.messages):
            if message.user_id == event["userId"] and message.content is not None:
                self.messages[index] = replace(message, content=None)
                changes.append(("change", self.messages[index]))
        return changes

    def _status(self, user: str, status: str) -> list[Change]:
        known = self.members.get(user)
        if known is None or known.status == status:
            return []
        return [("member", self._put(user, status=status))]

    def _put(self, user: str, **fields: Any) -> Member:
        self.members[user] = member = replace(self.members.get(user) or Member(user), **fields)
        return member


def _seq(message: Message) -> int:
    return message.seq


HANDLERS: dict[str, Callable[[RoomModel, Frame], list[Change]]] = {
    "message:new": RoomModel._posted,  # noqa: SLF001 - the table belongs to the class
    "message:read": RoomModel._receipt,  # noqa: SLF001
    "room:receipts": RoomModel._receipts,  # noqa: SLF001
    "room:members": RoomModel._members,  # noqa: SLF001
    "room:user_joined": RoomModel._joined,  # noqa: SLF001
    "room:user_left": RoomModel._left,  # noqa: SLF001
    "room:member_updated": RoomModel._updated_member,  # noqa: SLF001
    "room:updated": RoomModel._updated,  # noqa: SLF001
    "room:content_removed": RoomModel._removed,  # noqa: SLF001
    "presence:changed": RoomModel._presence,  # noqa: SLF001
    "typing:start": RoomModel._typing_start,  # noqa: SLF001
    "typing:stop": RoomModel._typing_stop,  # noqa: SLF001
}
"""What each event does, besides those that change one message."""
