"""One connection after the other, and what they have in common: the user, the rooms, the commands.

Invariant: one task runs the connections, and no exception leaves it. What is unanswered when a connection ends is sent
again on the next one, with the same ref; the rooms go on after their cursors.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Literal

from onrecord_client.backoff import Backoff, Ended
from onrecord_client.clock import Sleep
from onrecord_client.commands import Command, Commands
from onrecord_client.directory import Directory, RoomSummary
from onrecord_client.emitter import Emitter
from onrecord_client.errors import CLOSED, SESSION_REFUSED, OnRecordError
from onrecord_client.keeper import Keeper
from onrecord_client.model import Gap
from onrecord_client.room import Room
from onrecord_client.sender import Sender
from onrecord_client.session import Lost, Session
from onrecord_client.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from onrecord_client.feed import Feed
    from onrecord_client.messages import Frame, Message
    from onrecord_client.storage import Storage
    from onrecord_client.tokens import Token

log = logging.getLogger("onrecord_client")

State = Literal["connecting", "connected", "reconnecting", "closed"]
CLOSING_S = 1.0


class Engine:
    """The inner half of `OnRecord`."""

    def __init__(self, url: str, token: Token, storage: Storage, clock: Callable[[], float]) -> None:
        self.emitter = Emitter("state", "rooms")
        self.state: State = "closed"
        self.user_id = ""
        self.epoch: str | None = None
        self.refusal: OnRecordError | None = None
        """Why the server refused this client for good, None if it did not."""
        self.directory = Directory()
        self._url, self._storage, self._clock = url, storage, clock
        self._tokens = Tokens(token)
        self._wake = asyncio.Event()
        self.stale = asyncio.Event()
        """Set when the list of rooms has to be asked for."""
        self._commands = Commands(self._wake.set)
        self.sender = Sender(self._commands, clock, self._shown)
        self._backoff = Backoff()
        self.rooms: dict[str, Room] = {}
        self._keeper = Keeper(self)
        self._closing = False
        self._session: Session | None = None
        self._runner: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None

    # What the application and the rooms call.

    async def connect(self) -> None:
        """Start the connections, and wait for the first one; see `OnRecord.connect`."""
        if self._first is None or self._runner is None or self._runner.done():
            self.refusal, self._closing = None, False
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
        """End the connections; see `OnRecord.close`."""
        runner, self._runner, self._closing = self._runner, None, True
        if runner is not None:
            runner.cancel()
            self._end(OnRecordError(CLOSED, "The client was closed.", retryable=True))
            await asyncio.wait({runner}, timeout=CLOSING_S)

    async def join(self, room_id: str) -> Room:
        """Join a room; see `OnRecord.join`."""
        self.check_open()
        room = self._room(room_id)
        if room.feed.cursor is None and not room.feed.is_joining:
            room.feed.begin()
            self._ask_to_join(room.feed)
        await room.feed.arrived()
        if room.feed.gone is not None:
            raise room.feed.gone
        return room

    def follow(self) -> list[RoomSummary]:
        """Return the rooms, and receive them from now on."""
        if not self._keeper.follows:
            self._keeper.follows = True
            self.stale.set()
        return self.directory.summaries()

    async def command(self, kind: str, fields: dict[str, Any]) -> Frame:
        """Send a command until it is answered, over any number of connections; return the ack.

        Raises:
            OnRecordError: the server refused it, or the client is closed.
        """
        self.check_open()
        return await self._commands.add(Command(kind, fields))

    def lossy(self, kind: str, room_id: str) -> bool:
        """Send a command without waiting for its answer; return whether there is a connection for it."""
        if self._session is None or self.state != "connected":
            return False
        self._session.lossy.append({"type": kind, "roomId": room_id})
        self._wake.set()
        return True

    def mark_read(self, room_id: str, message_id: int) -> None:
        """Note that the user has read a room up to a message."""
        self.directory.read(room_id, message_id)
        self.emitter.emit("rooms", None)

    def check_open(self) -> None:
        """Check that commands can be sent, now or on the next connection.

        Raises:
            OnRecordError: the client is closed.
        """
        if self.refusal is not None:
            raise self.refusal
        if self.state == "closed":
            raise OnRecordError(CLOSED, "The client is closed; connect() opens it.", retryable=True)

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
        session = Session(self._url, self._commands, self._wake, self._receive, self._tokens.new, self._clock)
        try:
            token = await self._tokens.new()
            cursors = {feed.room_id: feed.cursor for feed in self._feeds() if feed.cursor is not None}
            hello: dict[str, Any] = {"token": token, "rooms": cursors}
            if self.epoch is not None:
                hello["epoch"] = self.epoch
            self._welcome(await session.open(hello, connected_before=self.epoch is not None), session)
            await session.run(self._keeper.run())
        except Lost as lost:
            return lost.ended
        except OnRecordError as error:
            return Ended(error.message, final=not error.retryable, at_least=error.retry_after or 0.0)
        finally:
            self._disconnected()
            await session.close()

    async def _pause(self, seconds: float) -> None:
        """Wait, but not on after the machine has slept."""
        loop, sleep = asyncio.get_running_loop(), Sleep(self._clock)
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0 and not sleep.noticed():  # noqa: ASYNC110 - no event tells of a sleep
            await asyncio.sleep(min(left, 1.0))

    def _welcome(self, frame: Frame, session: Session) -> None:
        user = frame["userId"]
        self.user_id = self.user_id or user
        if user != self.user_id:
            raise OnRecordError(
                SESSION_REFUSED, f"The token is for {user}, and this client for {self.user_id}."
            )
        self._session, self.epoch = session, frame["epoch"]
        self._backoff.reset()
        self.sender.connected(self._storage, self._url, user)
        self._resume(frame.get("rooms") or {})
        self.directory.stale = True
        self.stale.set()
        self._change_state("connected")
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    def _disconnected(self) -> None:
        self._session = None
        self._commands.disconnected()
        for feed in self._feeds():
            feed.disconnected()
        if self.state == "connected" and not self._closing:
            self._change_state("reconnecting")

    def _end(self, error: OnRecordError) -> None:
        self.refusal = None if error.code == CLOSED else error
        self._change_state("closed")
        self._commands.abandon(error)
        for feed in self._feeds():
            feed.abandon(error)
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)

    def _change_state(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self.emitter.emit("state", state)

    # The rooms.

    def _room(self, room_id: str) -> Room:
        if room_id not in self.rooms:
            self.rooms[room_id] = room = Room(self, room_id)
            room.feed.me = self.user_id
        return self.rooms[room_id]

    def _feeds(self) -> list[Feed]:
        return [room.feed for room in self.rooms.values()]

    def _shown(self, room_id: str) -> Callable[[Message], None] | None:
        room = self.rooms.get(room_id)
        return None if room is None else room.feed.show

    def _resume(self, states: dict[str, Any]) -> None:
        for feed in self._feeds():
            feed.me = self.user_id
            if feed.is_joining:
                self._ask_to_join(feed)
            elif feed.cursor is not None:
                self._resume_feed(feed, states.get(feed.room_id) or {})

    def _resume_feed(self, feed: Feed, state: Frame) -> None:
        if state.get("recovered") is True:
            return
        reason = str(state.get("reason") or "unknown")
        if reason == "room_not_found":
            feed.end(OnRecordError(reason, f"There is no room {feed.room_id} for this user any more."))
        elif reason == "not_a_member":
            feed.end_at(state.get("head") or 0)
        else:
            self._reload(feed, reason)

    def _reload(self, feed: Feed, reason: str) -> None:
        feed.begin(reason)
        self._ask_to_join(feed)

    def _ask_to_join(self, feed: Feed) -> None:
        if self._commands.has("room:join", feed.room_id):
            return
        try:
            self._commands.add(Command("room:join", {"roomId": feed.room_id}, settle=feed.settle_join))
        except OnRecordError as error:
            feed.end(error)

    def _receive(self, event: Frame) -> None:
        try:
            if self.directory.apply(event, self.user_id):
                self.emitter.emit("rooms", None)
        except (KeyError, TypeError, ValueError):
            self.directory.stale = True
        if self.directory.stale:
            self.stale.set()
        room_id = event.get("roomId")
        if room_id is None:
            for feed in self._feeds():
                self._deliver(feed, event)
        elif room_id in self.rooms:
            self._deliver(self.rooms[room_id].feed, event)

    def _deliver(self, feed: Feed, event: Frame) -> None:
        try:
            if event["type"] != "room:unsubscribed":
                feed.receive(event)
            elif feed.cursor is not None:
                self._reload(feed, "unsubscribed")
        except Gap as gap:
            log.warning("%s; the room is loaded again", gap)
            self._reload(feed, "gap")
        except (KeyError, TypeError, ValueError, AttributeError):
            log.exception("an event of %s is not as the protocol has it: %.200r", feed.room_id, event)
