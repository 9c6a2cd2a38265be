"""The people of the story: what they send and receive is recorded, in the order in which the script names it.

Invariant: an event is recorded when the script waits for it, so the recording does not depend on the order in which
events and acknowledgements arrive.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from service.embedded import Servers
from tests.support.clients.native import PATIENCE, Client, Event, Refused, raw
from tests.support.environment import token
from tests.support.processes.processes import Process
from tests.support.servers.databases import Database
from tests.support.story.normal import BEGIN, Normalizer
from tests.support.waiting import projected

HOUR = timedelta(hours=1)


@dataclass
class Scene:
    """A part of the story, with its recorded entries."""

    title: str
    text: str
    entries: list[dict[str, Any]] = field(default_factory=list)


class Cast:
    """The people, by the node that serves them."""

    def __init__(self, node: Process, servers: Servers, database: Database, stack: AsyncExitStack) -> None:
        self.node = node
        self.servers = servers
        self.database = database
        self.scenes: list[Scene] = []
        self.normalizer = Normalizer()
        self.people: dict[str, Person] = {}
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.stack = stack
        self._refs: dict[tuple[str, str], int] = {}

    def __getattr__(self, name: str) -> "Person":
        """Return a person who has arrived."""
        return self.people[name]

    def later(self, hours: int) -> datetime:
        """Return a time after the beginning of the story."""
        time = self.now + hours * HOUR
        self.normalizer.show_time(time, BEGIN.replace(microsecond=0) + hours * HOUR)
        return time

    def text(self, hours: int) -> str:
        """Return a time after the beginning of the story as commands hold it."""
        return self.later(hours).isoformat().replace("+00:00", "Z")

    async def present(self, hours: int) -> str:
        """Return a second after all that happened, shown as that many hours after the beginning of the story."""
        await asyncio.sleep(1)
        now = datetime.now(UTC).replace(microsecond=0)
        self.normalizer.show_time(now, BEGIN.replace(microsecond=0) + hours * HOUR)
        return now.isoformat().replace("+00:00", "Z")

    def begin(self, title: str, text: str) -> None:
        """Begin a scene."""
        self.scenes.append(Scene(title, text))
        self.normalizer.begin_scene()

    def record(self, who: str, **entry: Any) -> None:
        """Record an entry of the present scene."""
        self.scenes[-1].entries.append({"who": who, **self.normalizer.value(entry)})

    def token(self, user: str, hours: int = 1, **claims: Any) -> str:
        """Return a token of a user."""
        return token(user, int(self.later(hours).timestamp()), name=user.capitalize(), **claims)

    def ref(self, who: str, kind: str) -> str:
        """Return the next ref of a person for a command: it does not depend on the other commands of the story."""
        number = self._refs[who, kind] = self._refs.get((who, kind), 0) + 1
        digest = hashlib.sha256(f"{who} {kind} {number}".encode()).digest()[:16]
        return self.normalizer.keep(str(UUID(bytes=digest, version=4)))

    async def arrives(self, user: str, rooms: dict[str, Any] | None = None, **fields: Any) -> "Person":
        """Connect a person to the native endpoint, and record `connect` and `connected`."""
        person = await self.opens(user)
        await person.connects(token=self.token(user), **({"rooms": rooms} if rooms else {}), **fields)
        return person

    async def opens(self, user: str) -> "Person":
        """Open a connection that has not sent `connect`."""
        socket = await self.stack.enter_async_context(
            raw(self.node.url, user_agent_header="example-client/1.0")
        )
        person = self.people[user] = Person(self, user, Client(socket, user))
        return person

    async def settled(self) -> None:
        """Wait until the read models have applied the whole log."""
        await projected(self.database)

    async def requests(
        self,
        user: str,
        method: str,
        path: str,
        *,
        scope: str = "",
        body: Any = None,
        only: str = "",
        http: httpx.AsyncClient | None = None,
        **parameters: Any,
    ) -> Any:
        """Send an HTTP request, record it with its answer, and return the answer.

        `parameters` are those of the path and the query; a trailing underscore is removed from their names. Of an
        answer in lines, those with the type `only` are recorded.
        """
        parameters = {name.rstrip("_"): value for name, value in parameters.items()}
        inside = {name: value for name, value in parameters.items() if f"{{{name}}}" in path}
        query = {name: value for name, value in parameters.items() if name not in inside}
        claims: dict[str, Any] = {"scope": scope} if scope else {}
        bearer = self.token(user, **claims) if user else ""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        async with AsyncExitStack() as stack:
            fresh = await stack.enter_async_context(
                httpx.AsyncClient(base_url=self.node.address, timeout=PATIENCE)
            )
            used = fresh if http is None else http
            answer = await used.request(
                method, path.format_map(inside), params=query, json=body, headers=headers
            )
        kind = answer.headers.get("content-type", "")
        lines = "ndjson" in kind
        content = (
            [line for line in map(json.loads, answer.text.splitlines()) if only in ("", line["type"])]
            if lines
            else answer.json()
            if answer.content
            else None
        )
        request = {"method": method, "path": path, "parameters": parameters}
        if body is not None:
            request["body"] = body
        self.record(
            user or "anyone",
            request=request,
            status=answer.status_code,
            **{"lines" if lines else "answer": content},
        )
        return content

    def unrecorded(self) -> list[tuple[str, Event]]:
        """Return the events that were received and that the script did not name."""
        return [(name, event) for name, person in self.people.items() for event in person.left()]


class Person:
    """A person with a connection to the native endpoint."""

    def __init__(self, cast: Cast, name: str, client: Client) -> None:
        self.cast = cast
        self.name = name
        self.client = client
        self._recorded: set[int] = set()

    async def sends(self, kind: str, **fields: Any) -> Event:
        """Send a command; record it with its answer, which is an ack or an error, and return the answer."""
        ref = fields.pop("ref", None) or self.cast.ref(self.name, kind)
        self.cast.record(self.name, sends={"type": kind, "ref": ref, **fields})
        try:
            answer = await self.client.say(kind, ref=ref, **fields)
        except Refused as refused:
            answer = refused.error
        self.cast.record(self.name, receives=answer)
        return answer

    async def sends_text(self, text: str) -> None:
        """Send a text that may be no command, and record it."""
        self.cast.record(self.name, sends=text if len(text) < 200 else f"{text[:10]}… ({len(text)} bytes)")
        await self.client.socket.send(text)

    async def connects(self, **fields: Any) -> None:
        """Send `connect`, and record it with the answer."""
        await self.sends_frame("connect", protocol=1, **fields)
        self.client.connected = await self.receives("connected")

    async def sends_frame(self, kind: str, **fields: Any) -> None:
        """Send a frame without a ref, and record it."""
        self.cast.record(self.name, sends={"type": kind, **fields})
        await self.client.socket.send(json.dumps({"type": kind, **fields}))

    async def receives(self, kind: str, **fields: Any) -> Event:
        """Wait for an event of a type with these fields that is not recorded yet; record and return it."""
        wanted = {"type": kind, **fields}

        def found() -> int | None:
            events = enumerate(self.client.heard)
            fresh = (
                number
                for number, event in events
                if number not in self._recorded and wanted.items() <= event.items()
            )
            return next(fresh, None)

        await self.client.until(lambda: found() is not None)
        number = found()
        assert number is not None
        self._recorded.add(number)
        event = self.client.heard[number]
        self.cast.record(self.name, receives=event)
        return event

    async def is_closed(self) -> None:
        """Wait until the server closes the connection; record the close frame."""
        await self.client.closed()
        socket = self.client.socket
        self.cast.record(self.name, closed={"code": socket.close_code, "reason": socket.close_reason})

    async def leaves(self) -> None:
        """Close the connection."""
        await self.client.close()

    def left(self) -> list[Event]:
        """Return the events that were received and that the script did not name."""
        heard = enumerate(self.client.heard)
        return [
            event
            for number, event in heard
            if number not in self._recorded and event["type"] not in ("ack", "error")
        ]


@asynccontextmanager
async def cast_of(node: Process, servers: Servers, database: Database) -> AsyncIterator[Cast]:
    """Give a cast whose connections end with the block."""
    async with AsyncExitStack() as stack:
        yield Cast(node, servers, database, stack)
