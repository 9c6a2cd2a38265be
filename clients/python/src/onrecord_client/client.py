"""The client: one connection after the other, the rooms that it resumes on each, and the outbox.

Invariant: one task runs the connections, and no exception leaves it. Whatever is unanswered when a connection ends is sent
again on the next one, with the same ref; the rooms go on after their cursors.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from onrecord_client.backoff import Backoff, Ended
from onrecord_client.commands import Command, Commands, new_ref
from onrecord_client.emitter import Emitter, Listener
from onrecord_client.errors import CLOSED, OUTBOX_EXPIRED, OUTBOX_FULL, SESSION_REFUSED, OnRecordError
from onrecord_client.messages import Frame, Message, Sent, time_of
from onrecord_client.model import Gap
from onrecord_client.outbox import Entry, Outbox
from onrecord_client.room import Room
from onrecord_client.session import MAX_FRAME_SENT, Lost, Session, Sleep, encoded
from onrecord_client.storage import FileStorage, MemoryStorage, Storage

log = logging.getLogger("onrecord_client")

State = Literal["connecting", "connected", "reconnecting", "closed"]
Token = str | Callable[[], str | Awaitable[str]]

TOKEN_S = 30.0
"""Seconds for the application to give a token."""

CLOSING_S = 1.0


class OnRecord:
    """A connection to an OnRecord server that comes back, misses nothing and sends nothing twice.

        async with OnRecord("wss://chat.example.org/ws", token=get_token) as chat:
            room = await chat.join("general")
            await room.send("hello")

    `token` is a token, or a function (or coroutine function) that returns a valid one at each call; it is called before
    each connection and before the token expires. `storage` keeps the messages that are not committed yet: a path, or an
    object with `get_item`, `set_item` and `remove_item`; without it they last as long as the process. `clock` returns the
    seconds since 1970.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token,
        storage: Storage | str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if urlsplit(url).scheme not in ("ws", "wss"):
            raise ValueError(f"the address of a server begins with ws:// or wss://, unlike {url!r}")
        self._url = url
        self._token = token
        self._storage = (
            FileStorage(storage) if isinstance(storage, str | os.PathLike) else storage or MemoryStorage()
        )
        self._clock = clock
        self._emitter = Emitter("state")
        self._wake = asyncio.Event()
        self._commands = Commands(self._wake.set)
        self._backoff = Backoff()
        self._rooms: dict[str, Room] = {}
        self._state: State = "closed"
        self._runner: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._session: Session | None = None
        self._outbox: Outbox | None = None
        self._epoch: str | None = None
        self.user_id: str | None = None
        """The user that the server took the token for; None before the first connection."""
        self.refusal: OnRecordError | None = None
        """Why the server refused this client for good, None if it did not."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def state(self) -> State:
        """`connecting` (for the first time), `connected`, `reconnecting` or `closed`."""
        return self._state

    @property
    def is_closed(self) -> bool:
        """Whether the client neither is connected nor tries to be."""
        return self._state == "closed"

    def on(self, event: str, listener: Listener) -> None:
        """Call a listener, a plain function, on every such event; `state` has the new state.

        Raises:
            TypeError: the listener is a coroutine function.
            ValueError: there is no such event.
        """
        self._emitter.on(event, listener)

    def off(self, event: str, listener: Listener) -> None:
        """Call a listener no more.

        Raises:
            ValueError: there is no such event.
        """
        self._emitter.off(event, listener)

    async def connect(self) -> None:
        """Connect, and try again until it succeeds. A client that is closed may connect again.

        Raises:
            OnRecordError: the server refused the client for good (`session_refused`), or it was closed first.
        """
        if self._first is None or self._runner is None or self._runner.done():
            self.refusal = None
            self._first = asyncio.get_running_loop().create_future()
            self._first.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._change_state("connecting")
            self._runner = asyncio.create_task(self._run(), name="onrecord_client")
        try:
            await asyncio.shield(self._first)
        except asyncio.CancelledError:
            if not self._first.done():
                await self.close()
            raise

    async def close(self) -> None:
        """Close the connection. What was not sent stays stored; everyone who waits gets an `OnRecordError` `closed`."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            await asyncio.wait({runner}, timeout=CLOSING_S)
        if not self.is_closed:
            self._end(OnRecordError(CLOSED, "The client was closed.", retryable=True))

    async def join(self, room_id: str) -> Room:
        """Join a room, and return it with its latest messages loaded. A room that was joined already is returned at once.

        Raises:
            OnRecordError: the user may not join it, or the client is closed.
        """
        self._check_open()
        room = self._rooms.setdefault(room_id, Room(self, room_id))
        if room.cursor is None and not room.is_joining:
            room.begin()
            self._ask_to_join(room)
        await room.arrived()
        return room

    # What rooms call.

    async def command(self, kind: str, fields: dict[str, Any]) -> Frame:
        """Send a command until it is answered, over any number of connections; return the ack.

        Raises:
            OnRecordError: the server refused it, or the client is closed.
        """
        self._check_open()
        return await self._commands.add(Command(kind, fields))

    def post(
        self,
        room: Room,
        content: str,
        *,
        reply_to: int | None,
        mentions: Sequence[str] | None,
        ref: str | None,
    ) -> asyncio.Task[Sent]:
        """Store a message and begin to send it; return its future place.

        Raises:
            OnRecordError: the client is closed, or too much waits to be sent.
        """
        self._check_open()
        assert self._outbox is not None, "a room exists once the client was connected"
        entry = Entry(
            ref or new_ref(),
            room.id,
            content,
            self._clock(),
            reply_to,
            None if mentions is None else tuple(mentions),
        )
        if self._outbox.is_full:
            raise OnRecordError(OUTBOX_FULL, "Too many messages wait to be sent already.", retryable=True)
        command = self._command_of(entry)
        if len(encoded(command.frame())) > MAX_FRAME_SENT:
            raise OnRecordError("message_too_long", "The message is too long for a frame.")
        answer = self._commands.add(command)
        try:
            self._outbox.add(entry)
        except BaseException:
            self._commands.forget(entry.ref)
            raise
        self._show(room, entry)
        return asyncio.ensure_future(_sent(answer))

    def lossy(self, kind: str, room_id: str) -> bool:
        """Send a command that nobody waits for; return whether there is a connection for it."""
        if self._session is None or self._state != "connected":
            return False
        self._session.lossy.append({"type": kind, "roomId": room_id})
        self._wake.set()
        return True

    def name_of(self, room_id: str) -> str | None:
        """Return the name of a room in the list of rooms."""
        return None

    def unread_of(self, room_id: str) -> int:
        """Return the number of unread messages of a room."""
        return 0

    def mark_read(self, room_id: str, message_id: int) -> None:
        """Note that the user has read up to a message."""

    # The connections.

    async def _run(self) -> None:
        while True:
            try:
                ended = await self._one_connection()
            except Exception:
                log.exception("a connection failed by a fault of this client")
                ended = Ended("This client failed.")
            if ended.final:
                self._end(OnRecordError(SESSION_REFUSED, ended.reason))
                return
            delay = self._backoff.delay(ended)
            log.info("%s Connecting again in %.1f s.", ended.reason, delay)
            await self._pause(delay)

    async def _one_connection(self) -> Ended:
        session = Session(self._url, self._commands, self._wake, self._receive, self._new_token, self._clock)
        try:
            rooms = {room.id: room.cursor for room in self._rooms.values() if room.cursor is not None}
            hello: dict[str, Any] = {"token": await self._new_token(), "rooms": rooms}
            if self._epoch is not None:
                hello["epoch"] = self._epoch
            self._welcome(await session.open(hello, connected_before=self._epoch is not None), session)
            await session.run()
        except Lost as lost:
            return lost.ended
        except OnRecordError as error:
            return Ended(error.message, final=not error.retryable, at_least=error.retry_after or 0.0)
        finally:
            self._disconnected()
            await session.close()

    async def _pause(self, seconds: float) -> None:
        """Wait, but not on after the machine has slept."""
        until, sleep = asyncio.get_running_loop().time() + seconds, Sleep(self._clock)
        while (left := until - asyncio.get_running_loop().time()) > 0 and not sleep.noticed():
            await asyncio.sleep(min(left, 1.0))

    async def _new_token(self) -> str:
        """Return a token of the application.

        Raises:
            OnRecordError: it gave none; for good only if it says so by an error of its own that is not retryable.
        """
        if isinstance(self._token, str):
            return self._token
        try:
            async with asyncio.timeout(TOKEN_S):
                given = self._token()
                return await given if inspect.isawaitable(given) else given
        except OnRecordError:
            raise
        except Exception as error:
            log.exception("the function that gives the token failed")
            raise OnRecordError(
                "token_unavailable", f"There is no token: {error!r}", retryable=True
            ) from error

    def _welcome(self, frame: Frame, session: Session) -> None:
        user = frame["userId"]
        if self.user_id not in (None, user):
            raise OnRecordError(
                SESSION_REFUSED, f"The token is for {user}, and this client for {self.user_id}."
            )
        self._session, self.user_id, self._epoch = session, user, frame["epoch"]
        self._backoff.reset()
        if self._outbox is None:
            self._outbox = Outbox(self._storage, self._url, user)
        self._send_stored(self._outbox)
        self._resume(frame.get("rooms") or {})
        self._change_state("connected")
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    def _send_stored(self, outbox: Outbox) -> None:
        now = self._clock()
        for entry in [*outbox.entries.values()]:
            if entry.ref not in self._commands:
                self._commands.add(self._command_of(entry))
            if entry.is_forgotten(now):
                expired = OnRecordError(
                    OUTBOX_EXPIRED, "The message was stored for too long to be sent safely."
                )
                self._commands.end(entry.ref, expired)

    def _resume(self, states: dict[str, Any]) -> None:
        for room in [*self._rooms.values()]:
            if room.is_joining:
                if not self._commands.has("room:join", room.id):
                    self._ask_to_join(room)
            elif room.cursor is not None:
                self._resume_room(room, states.get(room.id) or {})

    def _resume_room(self, room: Room, state: Frame) -> None:
        if state.get("recovered") is True:
            return
        reason = str(state.get("reason") or "unknown")
        if reason == "room_not_found":
            room.end(OnRecordError(reason, f"There is no room {room.id} for this user any more."))
        elif reason == "not_a_member":
            room.end_at(state.get("head") or 0)
        else:
            self._reload(room, reason)

    def _reload(self, room: Room, reason: str) -> None:
        room.begin(reason)
        if not self._commands.has("room:join", room.id):
            self._ask_to_join(room)

    def _ask_to_join(self, room: Room) -> None:
        try:
            self._commands.add(Command("room:join", {"roomId": room.id}, settle=room.settle_join))
        except OnRecordError as error:
            room.end(error)

    def _receive(self, event: Frame) -> None:
        room_id = event.get("roomId")
        rooms = [*self._rooms.values()] if room_id is None else [self._rooms.get(room_id)]
        for room in rooms:
            if room is not None:
                self._deliver(room, event)

    def _deliver(self, room: Room, event: Frame) -> None:
        if event["type"] == "room:unsubscribed":
            if room.cursor is not None:
                self._reload(room, "unsubscribed")
            return
        try:
            room.receive(event)
        except Gap as gap:
            log.warning("%s; the room is loaded again", gap)
            self._reload(room, "gap")
        except (KeyError, TypeError, ValueError):
            log.exception("an event of %s is not as the protocol has it: %.200r", room.id, event)

    def _disconnected(self) -> None:
        self._session = None
        self._commands.disconnected()
        for room in self._rooms.values():
            room.disconnected()
        if self._state == "connected":
            self._change_state("reconnecting")

    # The outbox.

    def _command_of(self, entry: Entry) -> Command:
        def settle(outcome: Frame | OnRecordError) -> None:
            self._settle(entry, outcome)

        return Command("message:send", entry.fields(), entry.ref, settle)

    def _settle(self, entry: Entry, outcome: Frame | OnRecordError) -> None:
        assert self._outbox is not None
        try:
            self._outbox.remove(entry.ref)
        except Exception:
            # Sent again by the next process, under the same ref, it has no second effect.
            log.exception("the storage did not remove a message that was answered")
        room = self._rooms.get(entry.room_id)
        if isinstance(outcome, OnRecordError):
            log.warning("a message to %s was refused: %s", entry.room_id, outcome)
            if room is not None:
                self._show(room, entry, outcome)
        elif room is not None:
            room.committed(entry.ref, outcome, time_of)

    def _show(self, room: Room, entry: Entry, failed: OnRecordError | None = None) -> None:
        room.show(
            Message(
                room_id=entry.room_id,
                message_id=0,
                seq=0,
                user_id=self.user_id or "",
                content=entry.content,
                at=datetime.fromtimestamp(entry.at, UTC),
                ref=entry.ref,
                reply_to=entry.reply_to,
                mentions=entry.mentions or (),
                pending=failed is None,
                failed=failed,
            )
        )

    # The state.

    def _check_open(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        if self.is_closed:
            raise OnRecordError(CLOSED, "The client is closed; connect() opens it.", retryable=True)

    def _end(self, error: OnRecordError) -> None:
        self.refusal = None if error.code == CLOSED else error
        self._session = None
        self._change_state("closed")
        self._commands.abandon(error)
        for room in self._rooms.values():
            room.abandon(error)
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)

    def _change_state(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._emitter.emit("state", state)


async def _sent(answer: asyncio.Future[Frame]) -> Sent:
    frame = await answer
    return Sent(frame["messageId"], frame["seq"], time_of(frame["at"]), tuple(frame.get("dropped") or ()))
