"""A client's state: fetched completely, or folded from the events that it receives. Both have to be equal.

The fold uses only what `docs/reference/protocol.md` states about each event.
"""

from copy import deepcopy
from typing import Any

from tests.support.clients.native import Client, Event, client

MEMBER = ("userId", "name", "role", "muted", "mutedUntil")
"""The fields of a member that the room's events determine; presence is not among them."""

NOTHING_KEPT = (
    *("ack", "error", "connected", "typing_start", "typing_stop", "presence_changed"),
    *("user_blocked", "room_unsubscribed", "message_reported", "report_resolved"),
)
"""Answers, ephemeral events, and events about a user or a connection, which are not part of a room's state."""


class Model:
    """One user's view of all their rooms."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.rooms: dict[str, dict[str, Any]] = {}
        self.members: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, dict[int, Any]] = {}
        self.receipts: dict[str, dict[str, int]] = {}
        self.invitations: dict[str, Any] = {}

    def copy(self) -> "Model":
        return deepcopy(self)

    def differences(self, other: "Model") -> dict[str, Any]:
        mine, theirs = vars(self), vars(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}

    def take(self, events: list[Event]) -> "Model":
        """Fold events in the order of their arrival."""
        for event in events:
            kind = event["type"].replace(":", "_")
            handle = getattr(self, f"_{kind}", None)
            assert handle is not None or kind in NOTHING_KEPT, f"{kind} is not understood"
            if handle is None:
                continue
            room = self.rooms.get(event["roomId"])
            if room is not None and "seq" in event and kind != "room_invited":
                assert event["seq"] == room["head"] + 1, f"after {room['head']} came {event}"
                room["head"] = event["seq"]
            handle(event)
            if event["roomId"] in self.rooms:
                self._count(event["roomId"])
        return self

    def _room_created(self, event: Event) -> None:
        self.rooms[event["roomId"]] = {
            "roomId": event["roomId"],
            "name": event["name"],
            "visibility": event["visibility"],
            "role": None,
            "head": event["seq"],
            "unread": 0,
            "mentions": 0,
            "lastRead": 0,
            "lastMessage": None,
            "topic": None,
            "archived": False,
        }
        for kept in (self.members, self.messages, self.receipts):
            kept[event["roomId"]] = {}

    def _room_user_joined(self, event: Event) -> None:
        self.members[event["roomId"]][event["userId"]] = {
            name: event[name] for name in MEMBER if name in event
        }
        if event["userId"] == self.user:
            self.rooms[event["roomId"]]["role"] = event["role"]
            self.invitations.pop(event["roomId"], None)

    def _room_user_left(self, event: Event) -> None:
        self.members.get(event["roomId"], {}).pop(event["userId"], None)
        if event["userId"] == self.user:
            self.invitations.pop(event["roomId"], None)
            for kept in (self.rooms, self.members, self.messages, self.receipts):
                kept.pop(event["roomId"], None)

    def _room_member_updated(self, event: Event) -> None:
        member = self.members[event["roomId"]].get(event["userId"], {})
        if "role" in event:
            member["role"] = event["role"]
            if event["userId"] == self.user:
                self.rooms[event["roomId"]]["role"] = event["role"]
        if "muted" in event:
            for name in ("muted", "mutedUntil"):
                member.pop(name, None)
            member |= {"muted": True} if event["muted"] else {}
            member |= {"mutedUntil": event["until"]} if "until" in event else {}

    def _room_updated(self, event: Event) -> None:
        changed: dict[str, Any] = {
            name: event[name] for name in ("name", "topic", "archived") if name in event
        }
        self.rooms[event["roomId"]] |= changed

    def _room_invited(self, event: Event) -> None:
        if event["userId"] == self.user:
            shown = ("roomId", "name", "visibility", "by", "at")
            self.invitations[event["roomId"]] = {name: event[name] for name in shown}
        else:
            self.rooms[event["roomId"]]["head"] = event["seq"]

    def _room_members(self, event: Event) -> None:
        self.members[event["roomId"]] = {
            one["userId"]: {name: one[name] for name in MEMBER if name in one} for one in event["members"]
        }

    def _room_receipts(self, event: Event) -> None:
        for one in event["receipts"]:
            self._message_read({"roomId": event["roomId"], **one})

    def _message_history(self, event: Event) -> None:
        self.messages[event["roomId"]] = {one["messageId"]: one for one in event["messages"]}

    def _message_new(self, event: Event) -> None:
        message = {name: value for name, value in event.items() if name not in ("type", "ref")}
        self.messages[event["roomId"]][event["messageId"]] = message

    def _message_edited(self, event: Event) -> None:
        self._message(event).update(content=event["content"], editedAt=event["at"])

    def _message_deleted(self, event: Event) -> None:
        message = self._message(event)
        message |= {"content": None, "deletedAt": event["at"]}
        message.pop("reactions", None)

    def _message_reaction(self, event: Event) -> None:
        message = self._message(event)
        given = {one["emoji"]: deepcopy(one) for one in message.pop("reactions", [])}
        empty = {"emoji": event["emoji"], "count": 0, "userIds": [], "mine": False}
        one = given.setdefault(event["emoji"], empty)
        (one["userIds"].append if event["added"] else one["userIds"].remove)(event["userId"])
        one["count"] += 1 if event["added"] else -1
        if event.get("mine"):
            one["mine"] = event["added"]
        shown = [one for one in given.values() if one["count"]]
        message |= {"reactions": shown} if shown else {}

    def _message_pinned(self, event: Event) -> None:
        message = self._message(event)
        message.pop("pinned", None)
        message |= {"pinned": True} if event["pinned"] else {}

    def _message_read(self, event: Event) -> None:
        self.receipts[event["roomId"]][event["userId"]] = event["messageId"]
        if event["userId"] == self.user:
            self.rooms[event["roomId"]]["lastRead"] = event["messageId"]

    def _message_unread(self, event: Event) -> None:
        self.rooms[event["roomId"]]["lastRead"] = event["lastRead"]

    def _message(self, event: Event) -> dict[str, Any]:
        message = self.messages[event["roomId"]][event["messageId"]]
        assert isinstance(message, dict)
        return message

    def _count(self, name: str) -> None:
        room, messages = self.rooms[name], self.messages[name]
        unread = [
            one
            for number, one in messages.items()
            if number > room["lastRead"] and one["userId"] != self.user and "deletedAt" not in one
        ]
        room["unread"] = len(unread)
        room["mentions"] = len([one for one in unread if self.user in one.get("mentions", [])])
        room["lastMessage"] = messages[max(messages)] if messages else None


async def fetched(url: str, user: str) -> Model:
    """Return the state of a user who fetches everything."""
    model = Model(user)
    async with client(url, user) as asking:
        listed = await asking.say("room:list")
    model.invitations = {one["roomId"]: one for one in listed["invitations"]}
    async with client(url, user, {room["roomId"]: None for room in listed["rooms"]}) as asking:
        for room in listed["rooms"]:
            name = room["roomId"]
            model.rooms[name], model.receipts[name] = room, {}
            await _fetch_room(asking, model, name)
    return model


async def _fetch_room(asking: Client, model: Model, name: str) -> None:
    await asking.until(lambda: asking.events("room:receipts", roomId=name))
    for one in asking.events("room:receipts", roomId=name)[0]["receipts"]:
        model.receipts[name][one["userId"]] = one["messageId"]
    model._room_members({"roomId": name, **(await asking.say("room:members", roomId=name))})
    model._message_history({"roomId": name, **(await asking.say("message:history", roomId=name, limit=200))})
