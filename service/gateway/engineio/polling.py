"""The HTTP requests of Engine.IO: handshakes, polls and posts.

Invariant: every request is answered. Only the waiting poll of a session, and a post until its commands have begun, are
not answered at once. A post handles at most `PACKETS_A_TURN` packets in one iteration of the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.gateway.engineio.connection import Connection
from service.gateway.engineio.errors import refusal, refused
from service.gateway.engineio.server import Engine, began
from service.gateway.transport.client_address import canonical_address
from service.protocol.close_codes import Close
from service.protocol.socketio import engineio
from service.protocol.socketio.engineio import NotAPacket, Problem

BINARY = "application/octet-stream"

NOOP_AFTER = 0.1
"""Seconds after which a poll during an upgrade is answered with `noop`; a client stops polling only after an answer."""

PACKETS_A_TURN = 32
"""Packets of one post that are decoded, or handled, before other connections have their turn."""

T = TypeVar("T")


class Polls:
    """The ASGI application of a path, for every method."""

    @classmethod
    def route(cls, engine: Engine, path: str) -> Route:
        """Return the route of a path."""
        return Route(path, cls(engine))

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        address = canonical_address(request.client.host if request.client else None)
        found = self._engine.find(request.query_params, request.headers, address, "polling")
        if isinstance(found, Connection):
            return await self._respond_to(found, request)
        if found is not None:
            return refusal(found)
        if request.method != "GET":
            return refusal(self._engine.refuse(Problem.BAD_HANDSHAKE_METHOD, address))
        return _packets(self._engine.open(request.headers, address, began(request)))

    async def _respond_to(self, connection: Connection, request: Request) -> Response:
        if connection.pollable and request.method == "GET":
            return await self._poll(connection, request)
        if connection.pollable and request.method == "POST":
            return await self._post(connection, request)
        return refusal(refused(Problem.BAD_REQUEST))

    async def _poll(self, connection: Connection, request: Request) -> Response:
        if connection.polling.polled:
            connection.close(Close.MALFORMED, "two polls at once")
            return refusal(refused(Problem.BAD_REQUEST))
        asked = connection.polling.ask()
        if connection.probing is not None:
            asyncio.get_running_loop().call_later(NOOP_AFTER, connection.polling.answer, engineio.NOOP)
        if not asked.done():
            aborted = asyncio.create_task(_aborted(request))
            try:
                await asyncio.wait((asked, aborted), return_when=asyncio.FIRST_COMPLETED)
            finally:
                aborted.cancel()
            if aborted.done():
                connection.lose()  # the packets of the poll are lost, so the session must end
        return _packets(connection)

    async def _post(self, connection: Connection, request: Request) -> Response:
        binary = request.headers.get("content-type") == BINARY
        if connection.posting or binary:
            connection.close(Close.MALFORMED, "binary" if binary else "two posts at once")
            return refusal(refused(Problem.BAD_REQUEST))
        connection.posting = True
        try:
            await self._take(connection, request)
        except (ClientDisconnect, TimeoutError):
            connection.lose()
        except NotAPacket as error:
            connection.close(Close.MALFORMED, str(error))
        finally:
            connection.posting = False
        return _posted(connection)

    async def _take(self, connection: Connection, request: Request) -> None:
        body = bytearray()
        async with connection.reading():
            async for chunk in request.stream():
                body += chunk
                if len(body) > connection.settings.payload_limit(body, identified=connection.identified):
                    connection.close(Close.TOO_LARGE, "payload too large")
                    return
        pieces = engineio.split_payload(bytes(body))
        packets = [engineio.decode_piece(piece) async for piece in _in_turns(pieces)]
        async for packet in _in_turns(packets):
            if connection.closing:
                return
            await connection.take(packet)


async def _in_turns(items: Sequence[T]) -> AsyncIterator[T]:
    """Yield items; after each `PACKETS_A_TURN`, other tasks run."""
    for number, item in enumerate(items, 1):
        yield item
        if number % PACKETS_A_TURN == 0:
            await asyncio.sleep(0)


async def _aborted(request: Request) -> None:
    """Return when the client has aborted its request."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _packets(connection: Connection) -> Response:
    """Return the response to a poll."""
    headers = {"Cache-Control": "no-store"}
    return Response(connection.polling.take(), headers=headers, media_type="text/plain; charset=UTF-8")


def _posted(connection: Connection) -> Response:
    """Return the response to a post; an error if the session has ended because of the post."""
    ending = connection.ending
    if ending is None or ending.by_client:
        return Response("ok", headers={"Cache-Control": "no-store"}, media_type="text/html")
    if ending.code == Close.TOO_LARGE:
        return Response(status_code=413)
    return refusal(refused(Problem.BAD_REQUEST))
