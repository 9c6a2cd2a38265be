"""A model of the server as one connection of a user sees it: rooms, queries that are answered late, and one socket.

Frames wait in `socket` until they are delivered. Events wait in their room until they are pumped into the socket, so
the answer of a query may come before or after events that it includes.
"""

from tests.support.oracles.page_room import ME, Frame, Room


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
