"""A small server of the native protocol that keeps its rooms in memory, and does to clients what a test scripts.

    async with scripted() as server:
        server.script["message:send"] = refuse_once     # async (Peer, frame) -> True: the frame is done with

Invariant: without a script it keeps the protocol: numbers without gaps, resumption, one effect of each ref.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.waiting import until

Frame = dict[str, Any]
Script = Callable[["Peer", Frame], Awaitable[bool]]

AT = "2026-11-24T10:00:00.000000Z"
ME = "alice"
PAGE = 50


@dataclass(eq=False)
class Peer:
    """One connection of a client."""

    socket: ServerConnection
    rooms: set[str] = field(default_factory=set)

    async def say(self, **frame: Any) -> None:
        """Send a frame, if the client is still there."""
        with suppress(ConnectionClosed):
            await self.socket.send(json.dumps(frame))

    async def refuse(self, frame: Frame, code: str, *, retryable: bool = False, **more: Any) -> None:
        """Answer a command with an error."""
        await self.say(
            type="error", ref=frame.get("ref"), code=code, message=code, retryable=retryable, **more
        )


@dataclass(eq=False)
class Scripted:
    """The server. `connects` and `received` have the frames of all clients, in order."""

    url: str = ""
    epoch: str = "11111111-1111-4111-8111-111111111111"
    lives: float = 3600.0
    """Seconds for which `connected` says that a token is valid."""
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    logs: dict[str, list[Frame]] = field(default_factory=dict)
    acks: dict[str, Frame] = field(default_factory=dict)
    connects: list[Frame] = field(default_factory=list)
    received: list[Frame] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    script: dict[str, Script] = field(default_factory=dict)

    def event(self, room: str, kind: str, **fields: Any) -> Frame:
        """Record an event, and return it; `tell` sends it."""
        log = self.logs.setdefault(room, [])
        seq = len(log) + 1
        log.append({"type": kind, "roomId": room, "seq": seq, "userId": ME, "at": AT, **fields})
        return log[-1]

    def message(self, room: str, content: str, user: str = "bob", **fields: Any) -> Frame:
        """Record a message."""
        seq = len(self.logs.setdefault(room, [])) + 1
        return self.event(
            room, "message:new", messageId=seq, userId=user, name=user, content=content, **fields
        )

    async def tell(self, event: Frame) -> None:
        """Send an event to every client in its room."""
        for peer in self.peers:
            if event["roomId"] in peer.rooms:
                await peer.say(**event)

    async def post(self, room: str, content: str) -> None:
        """Record a message of another user, and send it."""
        await self.tell(self.message(room, content))

    def contents(self, room: str) -> list[str]:
        """Return the contents of a room's messages."""
        return [event["content"] for event in self.logs.get(room, []) if event["type"] == "message:new"]

    def commands(self, kind: str) -> list[Frame]:
        """Return the commands of one type, in order of arrival."""
        return [frame for frame in self.received if frame["type"] == kind]

    async def connected(self, times: int) -> None:
        """Wait until clients have sent `connect` this often."""
        await until(lambda: len(self.connects) >= times)

    async def serve(self, socket: ServerConnection) -> None:
        """Serve one connection."""
        peer = Peer(socket)
        self.peers.append(peer)
        try:
            async for text in socket:
                frame = json.loads(text)
                (self.connects if frame["type"] == "connect" else self.received).append(frame)
                script = self.script.get(frame["type"])
                if script is None or not await script(peer, frame):
                    await self.answer(peer, frame)
        except ConnectionClosed:
            pass
        finally:
            self.peers.remove(peer)

    async def answer(self, peer: Peer, frame: Frame) -> None:
        """Answer a frame as the protocol has it."""
        match frame["type"]:
            case "connect":
                await self._connect(peer, frame)
            case "room:join":
                await self._join(peer, frame)
            case "message:send":
                await self._send(peer, frame)
            case "message:history":
                page = self._page(frame["roomId"], frame.get("before"), frame.get("after"))
                await peer.say(type="ack", ref=frame["ref"], **page)
            case "room:list":
                rooms = [self._listed(room) for room in sorted(self.logs)]
                await peer.say(type="ack", ref=frame["ref"], rooms=rooms, invitations=[], hasMore=False)
            case "auth:refresh":
                await peer.say(type="ack", ref=frame["ref"], expiresAt=self._expires())
            case kind if kind.startswith("typing:"):
                pass
            case _:
                await peer.say(type="ack", ref=frame["ref"], seq=1, at=AT)

    async def _connect(self, peer: Peer, frame: Frame) -> None:
        same = frame.get("epoch") in (None, self.epoch)
        rooms = {room: self._state(room, cursor, same=same) for room, cursor in frame["rooms"].items()}
        await peer.say(
            type="connected", protocol=1, userId=ME, session="s", epoch=self.epoch, rooms=rooms,
            expiresAt=self._expires(), pingInterval=self.ping_interval, pingTimeout=self.ping_timeout,
        )  # fmt: skip
        for room, state in rooms.items():
            peer.rooms.add(room)
            if state["recovered"]:
                for event in self.logs.get(room, [])[frame["rooms"][room] :]:
                    await peer.say(**event)

    def _state(self, room: str, cursor: int, *, same: bool) -> Frame:
        head = len(self.logs.get(room, []))
        if not same:
            return {"recovered": False, "reason": "epoch_changed", "head": head}
        if cursor > head:
            return {"recovered": False, "reason": "ahead", "head": head}
        return {"recovered": True, "head": head}

    async def _join(self, peer: Peer, frame: Frame) -> None:
        room = frame["roomId"]
        if not self.logs.get(room):
            self.event(room, "room:created", name=room, visibility="public")
            self.event(room, "room:user_joined", name=ME, role="owner")
        head = len(self.logs[room])
        await peer.say(type="ack", ref=frame["ref"], seq=head, at=AT, head=head, epoch=self.epoch)
        members = [{"userId": ME, "name": "Alice", "role": "owner", "status": "online", "lastSeen": AT}]
        await peer.say(type="room:members", roomId=room, members=members, hasMore=False)
        await peer.say(type="room:receipts", roomId=room, receipts=[])
        await peer.say(type="message:history", roomId=room, **self._page(room))
        peer.rooms.add(room)

    async def _send(self, peer: Peer, frame: Frame) -> None:
        ref, room = frame["ref"], frame["roomId"]
        if ref not in self.acks:
            event = self.message(room, frame["content"], ME, ref=ref)
            self.acks[ref] = {"seq": event["seq"], "messageId": event["seq"], "at": AT}
            await self.tell(event)
        await peer.say(type="ack", ref=ref, **self.acks[ref])

    def _page(self, room: str, before: int | None = None, after: int | None = None) -> Frame:
        of_messages = [event for event in self.logs.get(room, []) if event["type"] == "message:new"]
        within = [
            event
            for event in of_messages
            if (before is None or event["seq"] < before) and (after is None or event["seq"] > after)
        ]
        page = within[:PAGE] if after is not None else within[-PAGE:]
        messages = [
            {key: value for key, value in each.items() if key not in ("type", "ref")} for each in page
        ]
        return {"messages": messages, "hasMore": len(within) > len(page)}

    def _listed(self, room: str) -> Frame:
        return {
            "roomId": room, "name": room, "visibility": "public", "role": "owner", "head": len(self.logs[room]),
            "unread": 0, "mentions": 0, "lastRead": 0, "lastMessage": None, "topic": None, "archived": False,
        }  # fmt: skip

    def _expires(self) -> str:
        return (datetime.now(UTC) + timedelta(seconds=self.lives)).isoformat().replace("+00:00", "Z")


@asynccontextmanager
async def scripted(**fields: Any) -> AsyncIterator[Scripted]:
    """Give a server with these fields of `Scripted`, on a free port."""
    server = Scripted(**fields)
    listening: Server
    async with serve(server.serve, "127.0.0.1", 0, ping_interval=None, close_timeout=0.2) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}/ws"
        yield server
        for peer in server.peers:
            peer.socket.transport.abort()
