"""One valid command of each kind, and helpers for rooms on two nodes."""

import json
from typing import Any

import pytest

from tests.support.clients.native import Client, Event, Refused
from tests.support.environment import environment
from tests.support.processes.processes import Process, run
from tests.support.servers.databases import Database

Nodes = tuple[Process, Process]


async def refusal(one: Client, kind: str, **fields: Any) -> Event:
    with pytest.raises(Refused) as refused:
        await one.say(kind, **fields)
    return refused.value.error


async def code(one: Client, kind: str, **fields: Any) -> str:
    return str((await refusal(one, kind, **fields))["code"])


async def room_of(owner: Client, *members: str, **fields: Any) -> str:
    ack = await owner.say("room:create", name="Room", members=list(members), **fields)
    return str(ack["roomId"])


async def listening(one: Client, room: str) -> None:
    """Join on this connection, and receive the room's later events."""
    await one.say("room:join", roomId=room)
    await one.until(lambda: one.events("message:history", roomId=room))


async def contents(one: Client, room: str) -> list[str | None]:
    return [message["content"] for message in (await one.say("message:history", roomId=room))["messages"]]


FIELDS: dict[str, dict[str, Any]] = {
    "room:update": {"topic": "x"},
    "room:invite": {"userId": "eve"},
    "room:kick": {"userId": "alice"},
    "room:ban": {"userId": "alice"},
    "room:unban": {"userId": "alice"},
    "room:mute": {"userId": "alice"},
    "room:unmute": {"userId": "alice"},
    "room:role": {"userId": "eve", "role": "owner"},
    "message:send": {"content": "hello?", "replyTo": 3},
    "message:edit": {"messageId": 3, "content": "x"},
    "message:delete": {"messageId": 3},
    "message:react": {"messageId": 3, "emoji": "👍"},
    "message:unreact": {"messageId": 3, "emoji": "👍"},
    "message:pin": {"messageId": 3},
    "message:unpin": {"messageId": 3},
    "message:read": {"messageId": 3},
    "message:unread": {"messageId": 3},
    "message:report": {"messageId": 3, "reason": "x"},
    "report:resolve": {"reportId": "00000000-0000-5000-8000-000000000000", "outcome": "dismissed"},
}


async def _replay(database: Database, room: str) -> list[Event]:
    exit_code, out, words = await run(environment(database), "audit", "replay", "--room", room)
    assert exit_code == 0, words
    return [json.loads(line) for line in out.splitlines()]
