"""Starlette and Broadcaster, as in the chat of Broadcaster's README: two tasks per connection, in-process backend."""

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
from broadcaster import Broadcast
from listening import serve
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

broadcast = Broadcast("memory://")


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    joining = json.loads(await websocket.receive_text())
    room, user = joining["roomId"], joining["userId"]
    async with anyio.create_task_group() as group:

        async def receive() -> None:
            await receiver(websocket, room, user)
            group.cancel_scope.cancel()

        group.start_soon(receive)
        await sender(websocket, room)


async def receiver(websocket: WebSocket, room: str, user: str) -> None:
    async for text in websocket.iter_text():
        frame = json.loads(text)
        at = datetime.now(UTC).isoformat()
        message = {
            "type": "message:new",
            "roomId": room,
            "userId": user,
            "content": frame["content"],
            "at": at,
        }
        await broadcast.publish(channel=room, message=json.dumps(message))
        await websocket.send_text(json.dumps({"type": "ack", "ref": frame["ref"]}, separators=(",", ":")))


async def sender(websocket: WebSocket, room: str) -> None:
    async with broadcast.subscribe(channel=room) as subscriber:
        await websocket.send_text(json.dumps({"type": "joined"}, separators=(",", ":")))
        async for event in subscriber:
            await websocket.send_text(event.message)


@asynccontextmanager
async def lifespan(_app: Starlette):  # noqa: ANN201 - as Starlette's own examples
    async with broadcast:
        yield


serve(Starlette(routes=[WebSocketRoute("/ws", chat)], lifespan=lifespan))
