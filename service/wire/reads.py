"""What can be read over HTTP: the table of reads, and the endpoint that serves each.

A read has the rules and payloads of the command it stands for, and goes through the same code; each counts as one
command. The rule: whoever asks is known and within their rate before anything is looked up, and an answer is never
kept by a cache.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from projections import directory
from service.domain.room import RoomState, require_member, visible_until
from service.errors import (
    Malformed,
    NotAllowed,
    NotAMember,
    Unavailable,
)
from service.protocol import commands
from service.protocol.acks import MessageHistoryAck, RoomListAck, RoomMembersAck
from service.protocol.events import timestamp
from service.protocol.pages import (
    Directory,
    DirectoryQuery,
    ReceiptList,
    RoomEntry,
    RoomQuery,
    RoomView,
)
from service.wire.handlers import Handlers
from service.wire.origins import allowed_origin
from service.wire.services import Services
from service.wire.views import Views
from service.wire.visitors import visitor

Q = TypeVar("Q", bound=msgspec.Struct)
METHODS = ("GET", "HEAD", "OPTIONS")
NO_STORE = {"Cache-Control": "no-store"}

_where = re.compile(r" - at '\$\.(\w+)")


class BadParameter(Malformed):
    """`data`: `problem`, and `parameter`, which of them is wrong."""

    shown = ("parameter",)


class Visitor(msgspec.Struct, frozen=True):
    """Who asks over HTTP."""

    user: str


class Read(msgspec.Struct, frozen=True):
    """A read: the parameters that `query` describes in, the payload that `answer` describes out.

    `refusals` are the codes of the errors that are its own, of those that this version knows.
    """

    path: str
    query: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    ask: "Callable[[Reads, Visitor, Any], Awaitable[msgspec.Struct]]"
    refusals: tuple[str, ...] = ()


class Reads:
    """The reads, over a node's services."""

    def __init__(self, services: Services) -> None:
        self._s = services
        self._handlers = Handlers(services)
        self._views = Views(services)

    def routes(self) -> list[Route]:
        """Return a route for each."""
        return [Route(read.path, self._endpoint(read), methods=METHODS, name=read.path) for read in READS]

    async def public_rooms(self, _visitor: Visitor, query: DirectoryQuery) -> Directory:
        """List the public rooms, by id."""
        page = await self._views.read(directory.public_rooms, after=query.after, limit=query.limit)
        entries = [
            RoomEntry(
                room_id=row.room_id,
                name=row.name,
                visibility=row.visibility,
                created_at=timestamp(row.created_at),
            )
            for row in page.rooms
        ]
        return Directory(rooms=entries, has_more=page.has_more)

    async def room(self, visitor: Visitor, query: RoomQuery) -> RoomView:
        """Show one room; a private room and a missing one look the same to an outsider."""
        try:
            until = await self._views.ask(visible_until, query.room_id, visitor.user)
        except NotAMember:
            until = 0  # a public room is there for everybody
        return view_of((await self._s.hub.feed(query.room_id)).state, visitor.user, until)

    async def messages(self, visitor: Visitor, query: commands.MessageHistory) -> MessageHistoryAck:
        """Read a page of messages, oldest first, as `message:history` does."""
        return await self._handlers.history(visitor, query)

    async def members(self, visitor: Visitor, query: commands.RoomMembers) -> RoomMembersAck:
        """List members, by user id, as `room:members` does."""
        return await self._handlers.members(visitor, query)

    async def receipts(self, visitor: Visitor, query: RoomQuery) -> ReceiptList:
        """Tell how far everybody has read, as `room:receipts` does."""
        await self._views.ask(require_member, query.room_id, visitor.user)
        return ReceiptList(receipts=(await self._views.receipts(query.room_id)).receipts)

    async def my_rooms(self, visitor: Visitor, query: commands.RoomList) -> RoomListAck:
        """List one's rooms with their unread counts, as `room:list` does."""
        return await self._handlers.list_rooms(visitor, query)

    def _endpoint(self, read: Read) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"Allow": ", ".join(METHODS)})
            if not allowed_origin(request.headers, self._s.settings.origins):
                raise NotAllowed(problem="Pages of this origin may not read here.")
            if not self._s.readiness.ready:
                raise Unavailable
            asker = Visitor((await visitor(self._s, request)).user)
            self._s.rate.take(asker.user)
            answer = await read.ask(self, asker, parameters(request, read.query))
            return Response(msgspec.json.encode(answer), media_type="application/json", headers=NO_STORE)

        return serve


_OF_A_MEMBER = ("room_not_found", "not_a_member", "banned")
READS = (
    Read("/api/rooms", DirectoryQuery, Directory, Reads.public_rooms),
    Read("/api/rooms/{roomId}", RoomQuery, RoomView, Reads.room, ("room_not_found", "banned")),
    Read(
        "/api/rooms/{roomId}/messages",
        commands.MessageHistory,
        MessageHistoryAck,
        Reads.messages,
        _OF_A_MEMBER,
    ),
    Read(
        "/api/rooms/{roomId}/members",
        commands.RoomMembers,
        RoomMembersAck,
        Reads.members,
        _OF_A_MEMBER,
    ),
    Read("/api/rooms/{roomId}/receipts", RoomQuery, ReceiptList, Reads.receipts, _OF_A_MEMBER),
    Read("/api/me/rooms", commands.RoomList, RoomListAck, Reads.my_rooms),
)
"""Every read. What a command stands for is shown to the same people here and there."""


def parameter_names(query: type[msgspec.Struct]) -> list[str]:
    """Return the names that a request may give; what makes a command a frame is no parameter."""
    return [name for name in query.__struct_encode_fields__ if name not in ("type", "ref")]


def parameters(request: Request, query: type[Q]) -> Q:
    """Return what a request asks for.

    Raises:
        BadParameter: a parameter is unknown, came twice, or has a value that it cannot have.
    """
    given: dict[str, str] = dict(request.path_params)
    for name, value in request.query_params.multi_items():
        if name in given or name not in parameter_names(query):
            problem = "came twice" if name in given else "is not known here"
            raise BadParameter(problem=f"The parameter {name} {problem}.", parameter=name)
        given[name] = value
    kind = {"type": query.TYPE} if issubclass(query, commands.Frame) else {}
    try:
        return msgspec.convert({**given, **kind}, query, strict=False)
    except msgspec.ValidationError as error:
        problem = str(error).replace("`", "'")
        found = _where.search(problem)
        raise BadParameter(problem=problem, parameter=found[1] if found else "") from error


def view_of(state: RoomState, user: str, until: int | None) -> RoomView:
    """Return a room as a user may see it who may read it up to the seq `until`: None without end, 0 nothing."""
    inside = state.members.get(user)
    return RoomView(
        room_id=state.room,
        name=state.name,
        visibility=state.visibility,
        role=inside.role if inside else None,
        head=state.head if until is None else until or None,
        members=len(state.members) if inside or state.visibility == "public" else None,
    )
