"""Serves WebSockets by an ASGI application, which finds the transport at `scope["extensions"][EXTENSION]`.

The product serves no WebSocket over ASGI; tests write their side of a connection as an application.

The application runs as one task without a time limit. Its sends wait for a slow peer, and it gets a message only when
it calls `receive`.

Invariant: the application receives every message that arrived before the end; each later `receive` returns the end.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from service.gateway.transport.transport import ABNORMAL, Endpoint, Refused, Upgrade, WebSocketTransport
from service.gateway.websocket.frames import binary_frame, text_frame
from tests.support.servers.websocket_server import App

EXTENSION = "onrecord.transport"

Message = MutableMapping[str, Any]

_NORMAL, _INTERNAL_ERROR = 1000, 1011  # RFC 6455, section 7.4.1

log = logging.getLogger("onrecord.transport")


class Everywhere(Mapping[str, Endpoint]):
    """The endpoints of `transport_class`, of which one serves every path."""

    def __init__(self, app: App) -> None:
        self._endpoint = AsgiEndpoint(app)

    def __getitem__(self, path: str) -> Endpoint:
        return self._endpoint

    def __iter__(self) -> Iterator[str]:
        return iter(("/",))

    def __len__(self) -> int:
        return 1


class AsgiEndpoint:
    """Serves all paths by an application."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def on_upgrade(self, transport: WebSocketTransport, request: Upgrade) -> None:
        """Run the application, which accepts or refuses the upgrade."""
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "scheme": "ws",
            "path": request.path,
            "query_string": request.query,
            "headers": request.headers.raw,
            "client": None if request.address is None else (request.address, 0),
            "subprotocols": [
                token.strip()
                for value in request.headers.getlist("sec-websocket-protocol")
                for token in value.split(",")
            ],
            "extensions": {"websocket.http.response": {}, EXTENSION: transport},
        }
        await AsgiConversation(transport, scope).run(self._app)


class AsgiConversation:
    """The `Conversation` of one connection with the application."""

    def __init__(self, transport: WebSocketTransport, scope: dict[str, Any]) -> None:
        self._transport = transport
        self._scope = scope
        self._response: Refused | None = None
        self._accepted = False
        self._ready = asyncio.Event()  # set while the application waits for a message, and when it has ended
        self._finished = False
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._messages.put_nowait({"type": "websocket.connect"})
        self._disconnect: Message | None = None

    async def run(self, app: App) -> None:
        """Run an application; when it returns or fails, close the connection."""
        self._transport.on_ending = self._ended_early
        try:
            await app(self._scope, self._receive, self._send)
        except (ClientDisconnected, WebSocketDisconnect):
            pass  # from `_send`, or from Starlette: the application has noticed the end of the connection
        except Exception:
            if not self._accepted:
                raise
            log.exception("conversation_failed")
            self._close(_INTERNAL_ERROR, "internal error")
        else:
            self._close(_NORMAL, "")
        finally:
            self._finished = True
            self._ready.set()
            self._scope["extensions"].pop(EXTENSION, None)  # a reference cycle otherwise

    # The `Conversation`.

    def take_now(self, _message: str | bytes) -> bool:
        """Leave every message to `take`."""
        return False

    async def take(self, message: str | bytes) -> None:
        """Pass a message to the application when it calls `receive`; return when it calls it again."""
        await self._ready.wait()
        if self._finished:
            return
        self._ready.clear()
        kind = "text" if isinstance(message, str) else "bytes"
        self._messages.put_nowait({"type": "websocket.receive", kind: message})
        await self._ready.wait()

    async def ended(self) -> None:
        """Pass the end to the application."""
        ending = self._transport.ending
        self._queue_disconnect(ending.code if ending else ABNORMAL, self._transport.reason)

    def _ended_early(self) -> None:
        """Pass the end of a connection that was not accepted; `ended` passes that of an accepted one."""
        if not self._accepted:
            self._queue_disconnect(ABNORMAL, "")

    def _queue_disconnect(self, code: int, reason: str) -> None:
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
            self._messages.put_nowait(None)

    # Called by the application.

    def _close(self, code: int, reason: str) -> None:
        if not self._transport.closing:
            if not self._accepted:
                raise RuntimeError("the application neither accepted nor refused the WebSocket")
            self._transport.close(code, reason)

    async def _receive(self) -> Message:
        """ASGI's `receive`."""
        if self._disconnect is None or not self._messages.empty():
            self._ready.set()
            message = await self._messages.get()
            if message is not None:
                return message
        assert self._disconnect is not None
        return self._disconnect

    async def _send(self, message: Message) -> None:
        """ASGI's `send`. Unlike `Transport.write` it waits for a slow peer, so the write buffer's limit does not apply.

        Raises:
            ClientDisconnected: The connection is closing; an `OSError`, as ASGI requires.
        """
        if self._accepted:
            await self._send_open(message)
        elif self._transport.closing:
            if message["type"] != "websocket.close":
                raise ClientDisconnected
        else:
            self._send_answer(message)

    def _send_answer(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self._accept(message)
            case "websocket.close":
                self._refuse(Refused(403, b""))
            case "websocket.http.response.start":
                self._response = Refused(message["status"], b"", dict(_headers(message)))
            case "websocket.http.response.body" if self._response is not None:
                body = self._response.body + message.get("body", b"")
                self._response = self._response._replace(body=body)
                if not message.get("more_body", False):
                    self._refuse(self._response)
            case other:
                raise RuntimeError(f"{other} may not be sent before the handshake is complete")

    def _accept(self, message: Message) -> None:
        headers = _headers(message)
        if message.get("subprotocol"):
            headers.append(("Sec-WebSocket-Protocol", message["subprotocol"]))
        self._accepted = True
        if not self._transport.accept(lambda: self, headers):
            raise ClientDisconnected

    def _refuse(self, refused: Refused) -> None:
        self._queue_disconnect(ABNORMAL, "")
        self._transport.refuse(refused)

    async def _send_open(self, message: Message) -> None:
        if message["type"] == "websocket.close":
            self._close(message.get("code", _NORMAL), message.get("reason") or "")
        elif message["type"] == "websocket.send":
            text, data = message.get("text"), message.get("bytes")
            frame = binary_frame(data or b"") if text is None else text_frame(text.encode())
            if not await self._transport.send(frame):
                raise ClientDisconnected
        else:
            raise RuntimeError(f"{message['type']} may not be sent after websocket.accept")


def _headers(message: Message) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers") or ()]
