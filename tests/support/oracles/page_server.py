"""A model of the server as one connection of a user sees it: rooms, queries that are answered late, and one socket.

Frames wait in `socket` until they are delivered. Events wait in their room until they are pumped into the socket, so
the answer of a query may come before or after events that it includes.
"""

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


class PageServer:
    """The rooms, and the connection of `ME`. `live` has the cursor of each room that it receives."""

    def __init__(self, *names: str) -> None:
        self.rooms = {name: Room(name) for name in names}
        self.live: dict[str, int] = {}
        self.late: dict[str, int] = {}
        self.heard: dict[str, int] = {}
        self.socket: list[Frame] = []
        self.queries: list[Frame] = []

    def read(self, name: str, user: str, number: int) -> None:
        room = self.rooms[name]
        if number <= room.markers.get(user, 0):
            if user == ME and number > room.position:
                self._move_back(room, number)
            return
        room.markers[user] = number
        if user == ME:
            room.marked = None
        if name in self.live:
            self.socket.append({"type": "message:read", "roomId": name, "userId": user, "messageId": number})

    def mark_unread(self, name: str, number: int) -> None:
        """Mark a message as unread for `ME`, if it counts."""
        room = self.rooms[name]
        position = min(number - 1, room.markers.get(ME, 0))
        if number > room.members[ME] and room.messages[number]["userId"] != ME and position != room.position:
            self._move_back(room, position)

    def _move_back(self, room: Room, position: int) -> None:
        room.marked = position if position < room.markers[ME] else None
        if room.name in self.live:
            self.socket.append(room.moved())

    def expire(self, name: str, number: int) -> None:
        """Let the retention of the messages up to one end."""
        room = self.rooms[name]
        for each in [each for each in room.messages if each <= number and each not in room.expired]:
            room.expire(each)
        self._report(name, reason="expired")

    def erase(self, user: str) -> None:
        for name, room in self.rooms.items():
            for message in room.messages.values():
                if message["userId"] == user:
                    message["content"] = None
                    room.erased.add(message["seq"])
            self._report(name, reason="erased", userId=user)

    def _report(self, name: str, **fields: str) -> None:
        if name in self.live and ME in self.rooms[name].members:
            self.socket.append({"type": "room:content_removed", "roomId": name, **fields})

    def pump(self, name: str) -> None:
        """Put the room's next event into the socket, if the connection receives the room."""
        room, seq = self.rooms[name], self.live.get(name, 0) + 1
        if name not in self.live or seq > room.head:
            return
        self.live[name] = seq
        self.socket.append(event := room.event(seq, late=seq <= self.late.get(name, 0)))
        if event["type"] == "room:user_left" and event["userId"] == ME and self._is_out(room, seq):
            del self.live[name]

    def _is_out(self, room: Room, seq: int) -> bool:
        """Return whether the subscription ends with this leave: live ones do, others if no join followed."""
        return seq > self.late.get(room.name, 0) or room.members.get(ME, 0) < seq

    def join(self, name: str) -> None:
        room = self.rooms[name]
        fresh = ME not in room.members
        seq = room.join(ME)
        cursor = seq - 1 if fresh else room.head
        self.socket += [
            {"type": "joined", "roomId": name, "seq": seq, "head": room.head},
            *room.receipts(),
            room.page(cursor + 1),
        ]
        self.live.setdefault(name, cursor)

    def leave(self, name: str) -> None:
        """Leave by a command of this connection; the ack overtakes the event."""
        if ME in self.rooms[name].members:
            self.socket.append({"type": "removed", "roomId": name, "seq": self.rooms[name].leave(ME)})

    def rows(self) -> list[Frame]:
        return [room.row() for room in self.rooms.values() if ME in room.members]

    def deliver(self) -> Frame | None:
        """Take the next frame from the socket; a client resumes from the seqs that it has received."""
        if not self.socket:
            return None
        frame = self.socket.pop(0)
        numbers = [frame.get("seq", 0) - (frame["type"] == "joined")]
        numbers += [each["seq"] for each in frame.get("messages", ()) if not frame.get("asked")]
        if "roomId" in frame and frame["type"] != "removed":
            self.heard[frame["roomId"]] = max(self.heard.get(frame["roomId"], 0), *numbers)
        return frame

    def reconnect(self, attached: list[str]) -> list[Frame]:
        """Lose everything under way, and resume the rooms; return the page's actions on `connected`."""
        self.socket, self.queries, self.live, self.late = [], [], {}, {}
        actions: list[Frame] = [{"type": "connected", "userId": ME}]
        for name in attached:
            room = self.rooms[name]
            if ME not in room.members:
                left = max(e["seq"] for e in room.log if e["type"] == "room:user_left" and e["userId"] == ME)
                actions.append({"type": "removed", "roomId": name, "seq": left})
                continue
            self.socket += room.receipts()
            self.live[name], self.late[name] = self.heard.get(name, 0), room.head
        return actions
