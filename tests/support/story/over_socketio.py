"""The scene over Socket.IO, and its person."""

import asyncio
from typing import Any

import socketio

from tests.support.clients.native import PATIENCE, Event
from tests.support.story.cast import Cast
from tests.support.waiting import until


class SocketIoPerson:
    """A person with a stock Socket.IO client, which runs in threads of its own."""

    def __init__(self, cast: Cast, name: str) -> None:
        self.cast = cast
        self.name = name
        self.io = socketio.Client(reconnection=False)
        self.heard: list[tuple[str, Event]] = []
        self.refused: list[Event] = []
        self.io.on("*", lambda name, event: self.heard.append((name, event)))
        self.io.on("connect_error", self.refused.append)

    async def connects(self, auth: Event) -> None:
        """Connect; record CONNECT with the server's answer."""
        self.cast.record(self.name, door="socketio", sends=["CONNECT", auth])
        address = self.cast.node.address
        try:
            await asyncio.to_thread(
                self.io.connect, address, auth=auth, transports=["websocket"], wait_timeout=PATIENCE
            )
        except socketio.exceptions.ConnectionError:
            self.cast.record(self.name, door="socketio", receives=["CONNECT_ERROR", self.refused[-1]])
            return
        await self.receives("connected")

    def leaves(self) -> None:
        """Close the connection. Of one that the server has closed, the client leaves the socket open."""
        self.io.disconnect()
        if self.io.eio.ws is not None:
            self.io.eio.ws.shutdown()

    async def sends(self, kind: str, **fields: Any) -> None:
        """Emit a command; record it with what the server calls the acknowledgement with."""
        fields = {"ref": self.cast.ref(self.name, kind), **fields}
        self.cast.record(self.name, door="socketio", sends=[kind, fields])
        answer = await asyncio.to_thread(self.io.call, kind, fields, timeout=PATIENCE)
        self.cast.record(self.name, door="socketio", receives=["ack", answer])

    async def receives(self, kind: str, **fields: Any) -> None:
        """Wait for an event; record it."""

        def found() -> list[Event]:
            return [event for name, event in self.heard if name == kind and fields.items() <= event.items()]

        await until(found)
        self.cast.record(self.name, door="socketio", receives=[kind, found()[0]])


async def arrives(cast: Cast, user: str, auth: Event) -> SocketIoPerson:
    """Connect a person to the Socket.IO endpoint, and record CONNECT and its answer."""
    person = SocketIoPerson(cast, user)
    cast.stack.push_async_callback(asyncio.to_thread, person.leaves)
    await person.connects(auth)
    return person


async def the_other_endpoint(cast: Cast) -> None:
    """Socket.IO.

    The same commands, acks and events, as a Socket.IO client emits and receives them: an event's `type`
    is its name. Eve's first CONNECT has no valid token.
    """
    await arrives(cast, "eve", {"token": "none"})
    eve = await arrives(cast, "eve", {"token": cast.token("eve")})
    await eve.sends("room:join", roomId="general")
    await eve.receives("message:history")
    await eve.sends("message:send", roomId="general", content="Hello from the other door.")
    await eve.receives("message:new", userId="eve")
    await eve.sends("message:send", roomId="nowhere", content="Hello?")
