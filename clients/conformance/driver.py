"""The Python client behind the driver protocol of the conformance suite; see README.md."""

import asyncio
import dataclasses
import json
import logging
import os
import sys
import time
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from onrecord_client import Message, OnRecord, OnRecordError, Room

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EVENTS = ("message", "change", "member", "typing", "receipt", "reset")
Request = dict[str, Any]


class Driver:
    """One client, driven by requests."""

    def __init__(self) -> None:
        self._token = ""
        self._skipped = 0.0
        self._chat: OnRecord | None = None
        self._rooms: dict[str, Room] = {}

    async def answer(self, request: Request) -> None:
        """Carry a request out, and write its answer."""
        try:
            act: Callable[[Request], Awaitable[object]] = getattr(self, f"do_{request['do']}")
            say({"id": request["id"], "result": await act(request)})
        except OnRecordError as error:
            refusal = {"code": error.code, "message": error.message, "retryable": error.retryable}
            say({"id": request["id"], "error": refusal})

    async def do_open(self, request: Request) -> None:
        """Make the client."""
        self._token = request["token"]
        self._chat = OnRecord(
            request["url"],
            token=lambda: self._token,
            storage=request["storage"],
            clock=lambda: time.time() + self._skipped,
        )
        self._chat.on("state", lambda state: say({"event": "state", "state": state}))

    async def do_connect(self, _request: Request) -> None:
        """Connect for the first time."""
        await self._client.connect()

    async def do_join(self, request: Request) -> object:
        """Join a room, and report its events from then on."""
        room = await self._client.join(request["room"])
        if room.id not in self._rooms:
            self._rooms[room.id] = room
            for event in EVENTS:
                room.on(event, partial(report, room.id, event))
        return {"id": room.id, "name": room.name, "head": room.head}

    async def do_send(self, request: Request) -> object:
        """Send a message."""
        sent = await self._room(request).send(
            request["content"], reply_to=request.get("replyTo"), mentions=request.get("mentions")
        )
        return plain(sent)

    async def do_edit(self, request: Request) -> None:
        """Edit a message."""
        await self._room(request).edit(request["messageId"], request["content"])

    async def do_delete(self, request: Request) -> None:
        """Delete a message."""
        await self._room(request).delete(request["messageId"])

    async def do_react(self, request: Request) -> None:
        """React to a message."""
        await self._room(request).react(request["messageId"], request["emoji"])

    async def do_read(self, request: Request) -> None:
        """Mark messages as read."""
        await self._room(request).read(request["messageId"])

    async def do_loadEarlier(self, request: Request) -> object:  # noqa: N802 - the name of the request
        """Load earlier messages."""
        return await self._room(request).load_earlier(request.get("count", 50))

    async def do_typing(self, request: Request) -> None:
        """Show that the user types."""
        self._room(request).start_typing()

    async def do_messages(self, request: Request) -> object:
        """Return the messages of a room."""
        return [shown(message) for message in self._room(request).messages]

    async def do_rooms(self, _request: Request) -> object:
        """Return the list of rooms."""
        return [plain(summary) for summary in self._client.rooms]

    async def do_token(self, request: Request) -> None:
        """Give another token from now on."""
        self._token = request["token"]

    async def do_clock(self, request: Request) -> None:
        """Let the clock run ahead, as that of a machine that slept."""
        self._skipped += request["skip"]

    async def do_close(self, _request: Request) -> None:
        """Close the client."""
        await self._client.close()

    @property
    def _client(self) -> OnRecord:
        if self._chat is None:
            raise OnRecordError("closed", "`open` comes first.")
        return self._chat

    def _room(self, request: Request) -> Room:
        return self._rooms[request["room"]]


def report(room: str, event: str, value: object) -> None:
    """Write an event of a room."""
    say({"event": event, "room": room, "value": plain(value)})


def shown(message: Message) -> dict[str, Any]:
    """Return a message as the suite compares it."""
    fields = {
        "messageId": message.message_id,
        "seq": message.seq,
        "userId": message.user_id,
        "content": message.content,
    }
    pending = {"pending": True} if message.pending else {}
    failed = {"failed": True} if message.failed is not None else {}
    return {**fields, **pending, **failed}


def plain(value: object) -> object:
    """Return a value as JSON has it, with the names of the protocol."""
    if isinstance(value, OnRecordError):
        return {"code": value.code, "message": value.message, "retryable": value.retryable}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if dataclasses.is_dataclass(value):
        return {camel(each.name): plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    return value


def camel(name: str) -> str:
    """Return a name in camel case."""
    first, *more = name.split("_")
    return first + "".join(map(str.capitalize, more))


def say(line: dict[str, Any]) -> None:
    """Write a line at once, since this process may be killed after it."""
    os.write(1, json.dumps(line).encode() + b"\n")


async def main() -> None:
    """Answer requests until stdin ends."""
    reader = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    driver, tasks = Driver(), set()
    async with asyncio.TaskGroup() as group:
        while line := await reader.readline():
            tasks.add(task := group.create_task(driver.answer(json.loads(line))))
            task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    asyncio.run(main())
