"""A room as one connection of a user sees it: its events, messages, members and markers."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

ME = "me"
PAGE = 5

Frame = dict[str, Any]


@dataclass
class Room:
    """A room: its events, its members with the seq of their join, its messages and read markers."""

    name: str
    log: list[Frame] = field(default_factory=list)
    members: dict[str, int] = field(default_factory=dict)
    messages: dict[int, Frame] = field(default_factory=dict)
    markers: dict[str, int] = field(default_factory=dict)
    marked: int | None = None
    """Where the count of `ME` begins, if messages were marked as unread and not read since."""
    topic: str | None = None
    expired: dict[int, int] = field(default_factory=dict)
    """The messages whose retention is over, with the head of the room at that time."""
    erased: set[int] = field(default_factory=set)

    @property
    def head(self) -> int:
        return len(self.log)

    def record(self, kind: str, **fields: Any) -> int:
        seq = self.head + 1
        self.log.append({"type": kind, "roomId": self.name, "seq": seq, "at": f"at {seq}", **fields})
        return seq

    def join(self, user: str) -> int:
        if user not in self.members:
            self.members[user] = self.record("room:user_joined", userId=user, name=user, role="member")
        return self.head

    def leave(self, user: str) -> int:
        del self.members[user]
        return self.record("room:user_left", userId=user, reason="left")

    def post(self, user: str, mentions: list[str]) -> None:
        seq = self.head + 1
        fields = {
            "messageId": seq,
            "userId": user,
            "name": user,
            "content": f"text {seq}",
            "mentions": mentions,
        }
        self.record("message:new", **fields)
        self.messages[seq] = {"roomId": self.name, "seq": seq, "at": f"at {seq}", **fields, "reactions": []}

    def set_topic(self, topic: str) -> None:
        self.topic = topic
        self.record("room:updated", topic=topic)

    def edit(self, number: int) -> None:
        content = f"text {number} edited {self.head}"
        seq = self.record("message:edited", messageId=number, content=content)
        self.messages[number] |= {"content": content, "editedAt": f"at {seq}"}

    def delete(self, number: int) -> None:
        seq = self.record("message:deleted", messageId=number)
        self.messages[number] |= {"content": None, "deletedAt": f"at {seq}", "reactions": [], "pinned": False}

    def expire(self, number: int) -> None:
        """Let the retention of a message end. A later edit is shown, and counts no more."""
        self.messages[number]["content"] = None
        self.expired[number] = self.head

    def pin(self, number: int) -> None:
        pinned = not self.messages[number].get("pinned", False)
        self.record("message:pinned", messageId=number, pinned=pinned)
        self.messages[number]["pinned"] = pinned

    def react(self, user: str, number: int, emoji: str) -> None:
        """Toggle a reaction."""
        reactions = self.messages[number]["reactions"]
        known = next((each for each in reactions if each["emoji"] == emoji), None)
        if known is None:
            known = {"emoji": emoji, "count": 0, "userIds": []}
            reactions.append(known)
        added = user not in known["userIds"]
        (known["userIds"].append if added else known["userIds"].remove)(user)
        known["count"] += 1 if added else -1
        if not known["count"]:
            reactions.remove(known)
        self.record("message:reaction", messageId=number, emoji=emoji, userId=user, added=added)

    @property
    def position(self) -> int:
        return self.markers.get(ME, 0) if self.marked is None else self.marked

    def unread(self) -> list[Frame]:
        after = max(self.position, self.members[ME])
        messages = (each for number, each in self.messages.items() if number > after)
        return [
            each
            for each in messages
            if each["userId"] != ME and each["content"] is not None and each["seq"] not in self.expired
        ]

    def row(self) -> Frame:
        """Return the room's row in `room:list`."""
        unread = self.unread()
        return {
            "roomId": self.name,
            "name": f"Room {self.name}",
            "visibility": "public",
            "role": "member",
            "head": self.head,
            "unread": len(unread),
            "mentions": sum(ME in each["mentions"] for each in unread),
            "lastRead": self.position,
            "topic": self.topic,
            "archived": False,
        }

    def page(self, before: int) -> Frame:
        """Return a page of history that ends before a message."""
        numbers = [number for number in self.messages if number < before]
        shown = deepcopy([self.messages[number] for number in numbers[-PAGE:]])
        fields = {"messages": shown, "hasMore": len(numbers) > PAGE}
        return {"type": "message:history", "roomId": self.name, **fields}

    def receipts(self) -> list[Frame]:
        shown = [{"userId": user, "messageId": number} for user, number in self.markers.items()]
        receipts = {"type": "room:receipts", "roomId": self.name, "receipts": shown}
        return [receipts] if self.marked is None else [receipts, self.moved()]

    def moved(self) -> Frame:
        return {"type": "message:unread", "roomId": self.name, "lastRead": self.position}

    def event(self, seq: int, *, late: bool) -> Frame:
        """Return an event as a connection receives it; `late` ones lack content that was deleted since.

        Content that no one can read any more is in no event.
        """
        event = dict(self.log[seq - 1])
        if event["type"] in ("message:new", "message:edited"):
            message = self.messages[event["messageId"]]
            content = message["content"] if late or "deletedAt" not in message else event["content"]
            gone = content is None or seq <= self.expired.get(event["messageId"], 0)
            event["content"] = None if gone else event["content"]
        return event
