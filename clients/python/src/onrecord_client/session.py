"""One connection to the server: it opens, is kept alive, writes what is due and hands over what arrives.

Invariant: a connection that is dead without being closed is noticed within the ping interval and timeout of the server,
and at once after the machine slept. `run` ends only by an exception, with every task of the connection ended.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from onrecord_client.backoff import Ended, closed, refused
from onrecord_client.clock import Sleep
from onrecord_client.commands import Commands, new_ref
from onrecord_client.errors import OnRecordError
from onrecord_client.messages import Frame

log = logging.getLogger("onrecord_client")

PROTOCOL = 1
OPEN_S = 15.0
"""Seconds for the upgrade, and again for `connected`."""

ANSWER_S = 15.0
"""Seconds after which an unanswered command shows that the connection is dead."""

CLOSE_S = 0.3
"""Seconds for the closing handshake."""

TICK_S = 1.0
REFRESH_AT = 0.8
"""The part of a token's remaining life after which it is replaced."""

REFRESH_RETRY_S = 5.0
MAX_FRAME = 32 * 2**20
"""Bytes of a frame that is accepted: a page of 200 long messages fits."""

CLOSE_FOLLOWS = ("not_connected", "token_not_yet_valid")
"""Errors before `connected` that say why the server closes the connection next, or that end nothing."""

MAX_LOSSY = 16
"""Frames without an answer that wait to be written; the oldest gives way."""


class Lost(Exception):
    """The connection ended, or could not be opened."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.reason)
        self.ended = ended


@dataclass(eq=False)
class Session:
    """A connection. `receive` takes every event, `token` gives a new token, `clock` is the wall clock in seconds."""

    url: str
    commands: Commands
    wake: asyncio.Event
    receive: Callable[[Frame], None]
    token: Callable[[], Awaitable[str]]
    clock: Callable[[], float]
    lossy: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_LOSSY))
    _socket: ClientConnection | None = None
    _retry_after: float | None = None
    _heard_at: float = 0.0
    _ping_interval: float = 25.0
    _ping_timeout: float = 20.0
    _expires_at: float | None = None
    _refresh: "tuple[str, asyncio.Future[Frame]] | None" = None

    async def open(self, hello: dict[str, Any], *, connected_before: bool) -> Frame:
        """Connect, and return the `connected` frame.

        Raises:
            Lost: the server could not be reached, or refused.
        """
        try:
            self._socket = await connect(
                self.url, open_timeout=OPEN_S, close_timeout=CLOSE_S, ping_interval=None, max_size=MAX_FRAME
            )
            async with asyncio.timeout(OPEN_S):
                await self._write({"type": "connect", "protocol": PROTOCOL, **hello})
                frame = await self._connected()
        except InvalidStatus as error:
            response = error.response
            after = response.headers.get("Retry-After")
            raise Lost(refused(response.status_code, after, connected_before=connected_before)) from error
        except ConnectionClosed as error:
            raise self._closed() from error
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
            raise Lost(Ended(f"{urlsplit(self.url).netloc} cannot be reached: {error!r}")) from error
        self._ping_interval = float(frame.get("pingInterval") or self._ping_interval)
        self._ping_timeout = float(frame.get("pingTimeout") or self._ping_timeout)
        self._expires_at = _seconds(frame.get("expiresAt"))
        return frame

    async def run(self, *more: Coroutine[Any, Any, None]) -> NoReturn:
        """Keep the connection until it ends, with more coroutines beside it.

        Raises:
            Lost: it ended.
        """
        self._heard_at = asyncio.get_running_loop().time()
        parts = (self._read(), self._write_due(), self._watch(), self._keep_token(), *more)
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise Lost(Ended("The connection ended."))
        except ConnectionClosed as error:
            raise self._closed() from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close the connection, with a handshake if the server answers it soon."""
        socket, self._socket = self._socket, None
        if socket is None:
            return
        try:
            with suppress(TimeoutError, WebSocketException, OSError):
                async with asyncio.timeout(2 * CLOSE_S):
                    await socket.close()
        finally:
            socket.transport.abort()

    async def _connected(self) -> Frame:
        while True:
            frame = await self._next()
            if frame["type"] == "connected":
                return frame
            if frame["type"] == "error":
                error = OnRecordError.of(frame)
                self._retry_after = error.retry_after
                if error.code not in CLOSE_FOLLOWS:
                    words = f"The server refused to connect: {error.message}"
                    raise Lost(Ended(words, final=not error.retryable, at_least=error.retry_after or 0.0))

    async def _read(self) -> None:
        while True:
            frame = await self._next()
            self._heard_at = asyncio.get_running_loop().time()
            if frame["type"] not in ("ack", "error"):
                self.receive(frame)
            elif self._refresh is not None and frame.get("ref") == self._refresh[0]:
                if not self._refresh[1].done():
                    self._refresh[1].set_result(frame)
            else:
                self._note(frame)
                self.commands.answer(frame, self._heard_at)

    def _note(self, frame: Frame) -> None:
        """Keep what an error that answers no command says about the close that follows it."""
        if frame["type"] == "error" and "ref" not in frame:
            error = OnRecordError.of(frame)
            self._retry_after = error.retry_after
            log.warning("the server says: %s", error.message)

    async def _next(self) -> Frame:
        """Return the next frame.

        Raises:
            Lost: what arrived is no frame of the protocol. Since it may have been an event, the rooms are resumed.
        """
        text = await self._open_socket.recv()
        try:
            frame = json.loads(text)
        except ValueError:
            frame = None
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            raise Lost(Ended(f"The server sent what is no frame: {text[:100]!r}"))
        return frame

    async def _write(self, frame: dict[str, Any]) -> None:
        await self._open_socket.send(encoded(frame))

    @property
    def _open_socket(self) -> ClientConnection:
        if self._socket is None:
            raise Lost(Ended("The connection is closed."))
        return self._socket

    async def _write_due(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.wake.clear()
            for command in self.commands.take(loop.time()):
                await self._write(command.frame())
            while self.lossy:
                await self._write(self.lossy.popleft())
            at = self.commands.next_at()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(at if at is None else max(at, loop.time() + 0.001)):
                    await self.wake.wait()

    async def _watch(self) -> None:
        sleep, tick = Sleep(self.clock), min(TICK_S, self._ping_interval / 4, self._ping_timeout / 4)
        loop = asyncio.get_running_loop()
        pong: Awaitable[float] | None = None
        pinged_at = 0.0
        while True:
            await asyncio.sleep(tick)
            if sleep.noticed():
                raise Lost(Ended("The machine slept."))
            if self.commands.overdue(loop.time(), ANSWER_S):
                raise Lost(Ended("The server did not answer a command."))
            if self._heard_at >= pinged_at and loop.time() - self._heard_at > self._ping_interval:
                pong, pinged_at = await self._ping(), loop.time()
            if isinstance(pong, asyncio.Future) and pong.done():
                self._heard_at, pong = loop.time(), None
            if pong is not None and loop.time() - pinged_at > self._ping_timeout:
                if self._heard_at < pinged_at:
                    raise Lost(Ended("The connection was silent."))
                pong = None

    async def _ping(self) -> Awaitable[float]:
        try:
            async with asyncio.timeout(self._ping_timeout):
                return await self._open_socket.ping()
        except TimeoutError:
            raise Lost(Ended("The connection takes no more data.")) from None

    async def _keep_token(self) -> None:
        """Replace the token before it expires; where that fails, try again until the server closes with 4001."""
        refresh_at = self._refresh_at()
        while True:
            await asyncio.sleep(TICK_S)
            if refresh_at is None or self.clock() < refresh_at:
                continue
            try:
                await self._refresh_token()
                refresh_at = self._refresh_at()
            except (OnRecordError, TimeoutError) as error:
                log.warning("the token could not be refreshed: %r", error)
                refresh_at = self.clock() + REFRESH_RETRY_S

    async def _refresh_token(self) -> None:
        ref = new_ref()
        self._refresh = (ref, asyncio.get_running_loop().create_future())
        try:
            token = await self.token()
            await self._write({"type": "auth:refresh", "ref": ref, "token": token})
            async with asyncio.timeout(OPEN_S):
                answer = await self._refresh[1]
        finally:
            self._refresh = None
        if answer["type"] == "error":
            raise OnRecordError.of(answer)
        self._expires_at = _seconds(answer.get("expiresAt"))

    def _refresh_at(self) -> float | None:
        if self._expires_at is None:
            return None
        left = self._expires_at - self.clock()
        return self.clock() + max(left * REFRESH_AT, min(REFRESH_RETRY_S, left / 2))

    def _closed(self) -> Lost:
        code = None if self._socket is None else self._socket.close_code
        reason = "" if self._socket is None else self._socket.close_reason or ""
        return Lost(closed(code, reason, self._retry_after))


def encoded(frame: dict[str, Any]) -> str:
    """Return the text of a frame. Lone surrogates have no form in UTF-8 and are escaped; the server refuses them."""
    return json.dumps(frame, separators=(",", ":"))


def _seconds(text: object) -> float | None:
    """Return a time of the protocol in seconds since 1970, None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
