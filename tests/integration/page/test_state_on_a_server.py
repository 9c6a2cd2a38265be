"""The page's state, folded from what a server sends to one connection, equals what the server answers to another."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients.model import Model, fetched
from tests.support.clients.native import PATIENCE, Client, Refused, client
from tests.support.page.page_modules import PageModules, page_modules
from tests.support.processes.processes import Process

pytestmark = pytest.mark.needs("node")

ME = "me"
STEPS = 60
COUNTS = ("unread", "mentions", "lastRead", "name", "topic", "role", "archived")
AWAY = ("not_a_member", "room_not_found")


class Watched:
    """The page's part: one connection of `ME`, and the state that is folded from it."""

    def __init__(self, url: str, modules: PageModules) -> None:
        self.url, self.modules = url, modules
        self.state = modules.begin(ME)
        self.asked: dict[str, dict[str, Any]] = {}
        self.connection: Client | None = None
        self.seen = 0

    @property
    def client(self) -> Client:
        assert self.connection is not None
        return self.connection

    async def connect(self, stack: AsyncExitStack) -> None:
        """Connect, and resume the rooms that are received."""
        cursors = {name: room["to"] for name, room in self.state["rooms"].items() if room["to"] >= 0}
        self.connection, self.seen = await stack.enter_async_context(client(self.url, ME, cursors)), 0
        self.state = self.modules.apply({"type": "connected", "userId": ME})
        for name, resumed in self.client.connected["rooms"].items():
            if not resumed["recovered"]:
                assert resumed["reason"] in AWAY
                gone = {"type": "removed", "roomId": name, "seq": resumed.get("head", 0)}
                self.state = self.modules.apply(gone)

    async def ask(self, kind: str, **fields: Any) -> None:
        """Send a command; its ack is applied in the order of its arrival."""
        ref = f"{kind.replace(':', '-')}-{len(self.asked)}"
        self.asked[ref] = {"type": kind, "joins": self.state["joins"], **fields}
        with suppress(Refused):
            await self.client.say(kind, ref=ref, **fields)

    def follow(self) -> None:
        """Apply what has arrived."""
        frames, self.seen = self.client.heard[self.seen :], len(self.client.heard)
        for frame in frames:
            for action in self._actions(frame):
                self.state = self.modules.apply(action)

    def _actions(self, frame: dict[str, Any]) -> list[dict[str, Any]]:
        if frame["type"] not in ("ack", "error", "connected"):
            return [frame]
        asked = self.asked.get(frame.get("ref", ""), {"type": ""}) if frame["type"] == "ack" else {"type": ""}
        fields = {name: value for name, value in frame.items() if name not in ("type", "ref")}
        match asked["type"]:
            case "room:join":
                return [{"type": "joined", "roomId": asked["roomId"], **fields}]
            case "room:leave":
                return [{"type": "removed", "roomId": asked["roomId"], **fields}]
            case "room:list" | "message:history":
                return [{**asked, **fields}]
        return []

    def differences(self, truth: Model) -> list[object]:
        """Return where the state differs from what was fetched."""
        found: list[object] = []
        if set(self.state["rooms"]) != set(truth.rooms):
            found.append((set(self.state["rooms"]), set(truth.rooms)))
        for name, room in self.state["rooms"].items():
            if (row := truth.rooms.get(name)) is not None:
                found += [(name, f, room[f], row[f]) for f in COUNTS if room[f] != row[f]]
            if room["to"] >= 0 and row is not None:
                found += [(name, room["receipts"], truth.receipts[name])] * (
                    room["receipts"] != truth.receipts[name]
                )
                theirs = [shown(message) for message in self._page(room, truth.messages[name])]
                mine = [shown(message) for message in room["messages"]]
                found += [(name, m, t) for m, t in zip(mine, theirs, strict=False) if m != t]
                found += [(name, len(mine), len(theirs))] * (len(mine) != len(theirs))
        return found

    def _page(self, room: dict[str, Any], messages: dict[int, Any]) -> list[dict[str, Any]]:
        start = room["from"] if room["hasMore"] else 0
        return [message for number, message in messages.items() if number >= start]


def shown(message: dict[str, Any]) -> dict[str, Any]:
    """Return what is compared of a message."""
    reactions = [(each["emoji"], each["count"], each["userIds"]) for each in message.get("reactions", ())]
    fields = ("seq", "userId", "content", "editedAt", "deletedAt", "mentions")
    compared = {name: message.get(name) for name in fields}
    return {**compared, "reactions": reactions, "pinned": message.get("pinned", False)}


async def act(rng: random.Random, room: str, others: list[Client], sent: list[int]) -> None:
    """Do something in the room on another connection; what is refused changes nothing."""
    who = rng.choice(others)
    number = rng.choice(sent[-12:]) if sent else 0
    with suppress(Refused):
        match rng.choice(
            ["post"] * 6 + ["edit", "delete", "react", "unreact", "read", "leave", "join", "kick", "pin"]
        ):
            case "post":
                mentions = [ME] if rng.random() < 0.3 else []
                sent.append((await who.post(room, f"text {len(sent)}", mentions=mentions))["messageId"])
            case "edit":
                await who.say("message:edit", roomId=room, messageId=number, content=f"edited {rng.random()}")
            case "react" | "unreact" as kind:
                await who.say(f"message:{kind}", roomId=room, messageId=number, emoji=rng.choice("👍🎉"))
            case "kick":
                await others[0].say("room:kick", roomId=room, userId=ME)
            case "leave" | "join" as kind:
                await others[-1].say(f"room:{kind}", roomId=room)  # another device of the user
            case "read" | "delete" | "pin" as kind:
                await who.say(f"message:{kind}", roomId=room, messageId=number)


async def look(page: Watched, room: str) -> None:
    """Read what is loaded of a room."""
    known = page.state["rooms"].get(room, {"messages": [], "lastRead": 0})
    newest = max((each["messageId"] for each in known["messages"] if each["userId"] != ME), default=0)
    if newest > known["lastRead"]:
        page.state = page.modules.apply(
            {"type": "message:read", "roomId": room, "userId": ME, "messageId": newest}
        )
        await page.ask("message:read", roomId=room, messageId=newest)


async def step(rng: random.Random, page: Watched, room: str, stack: AsyncExitStack) -> None:
    """Do something on the page."""
    known = page.state["rooms"].get(room)
    match rng.choice(["follow"] * 3 + ["join", "join", "list", "earlier", "look", "leave", "reconnect"]):
        case "follow":
            page.follow()
        case "join" if known is None or known["to"] < 0:
            await page.ask("room:join", roomId=room)
        case "list":
            await page.ask("room:list")
        case "earlier" if known and known["messages"] and known["hasMore"]:
            await page.ask("message:history", roomId=room, before=known["messages"][0]["messageId"], limit=3)
        case "look":
            await look(page, room)
        case "leave" if known and rng.random() < 0.3:
            await page.ask("room:leave", roomId=room)
        case "reconnect" if rng.random() < 0.5:
            page.follow()
            await page.client.close()
            await page.connect(stack)


@pytest.mark.parametrize("seed", range(8))
async def test_the_state_is_what_the_server_answers(node: Process, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    rooms = ("first", "second")
    async with AsyncExitStack() as stack:
        page = Watched(node.url, stack.enter_context(page_modules(tmp_path / "page")))
        others = [await stack.enter_async_context(client(node.url, user)) for user in ("bob", "carol", ME)]
        for room in rooms:
            for one in others[:2]:
                await one.join(room)
        await page.connect(stack)
        sent: dict[str, list[int]] = {room: [] for room in rooms}
        for _ in range(STEPS):
            room = rng.choice(rooms)
            await act(rng, room, others, sent[room])
            await step(rng, page, room, stack)
        await page.ask("room:list")
        truth = await fetched(node.url, ME)
        try:
            async with asyncio.timeout(PATIENCE):
                while page.differences(truth):
                    page.follow()
                    if any(room["stale"] for room in page.state["rooms"].values()):
                        await page.ask("room:list")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            assert not page.differences(truth)
