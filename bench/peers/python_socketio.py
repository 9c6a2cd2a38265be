"""python-socketio's asynchronous server on uvicorn, as in its documentation: enter_room, emit to a room."""

from datetime import UTC, datetime
from typing import Any

import socketio
from listening import serve

sio = socketio.AsyncServer(async_mode="asgi")


@sio.on("room:join")
async def join(sid: str, data: dict[str, Any]) -> dict[str, Any]:
    await sio.save_session(sid, {"userId": data["userId"]})
    await sio.enter_room(sid, data["roomId"])
    return {"ok": True}


@sio.on("message:send")
async def send(sid: str, data: dict[str, Any]) -> dict[str, Any]:
    session = await sio.get_session(sid)
    at = datetime.now(UTC).isoformat()
    message = {"roomId": data["roomId"], "userId": session["userId"], "content": data["content"], "at": at}
    await sio.emit("message:new", message, room=data["roomId"])
    return {"ok": True, "at": at}


serve(socketio.ASGIApp(sio))
