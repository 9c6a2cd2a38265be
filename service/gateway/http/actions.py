"""Actions over HTTP, of administrators and of users: the table of actions, and the endpoint that serves each.

Invariant: an action needs a token with its scope, and is recorded in the name of the token's user.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from projections import memberships
from service.audit.privacy.erasure import Erasure
from service.chat import AccountSuspensions, ReadMarkers, Reports
from service.domain.commands import MarkUnread, ResolveReport, SetSuspension
from service.eventstore.read_database import ReadModels
from service.gateway.auth.claims import ADMIN, CHAT
from service.gateway.auth.tokens import Identity
from service.gateway.http.endpoint import NO_STORE, route_path
from service.gateway.http.request import RequestGuard, body, parameters
from service.gateway.queries.people import PeopleQueries
from service.gateway.queries.reports import ReportQueries
from service.protocol.events import timestamp
from service.protocol.http import Erased, Judged, Marked, PersonQuery, RoomQuery, ToErase, ToJudge, ToMark
from service.protocol.reports import ReportQuery, Resolved, ToResolve


class Action(msgspec.Struct, frozen=True):
    """An action: the structs of its path (`query`), `body` and `answer`, the codes of its refusals, and its scope."""

    path: str
    body: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    do: "Callable[[Actions, Identity, Any, Any], Awaitable[msgspec.Struct]]"
    refusals: tuple[str, ...] = ("user_not_found",)
    query: type[msgspec.Struct] = PersonQuery
    scope: str = ADMIN


@dataclass(frozen=True)
class Actions:
    """The actions; `erase` and `leave_rooms` are those of `service.audit.privacy`, bound to the node's log."""

    models: ReadModels
    suspensions: AccountSuspensions
    erase_person: Callable[..., Awaitable[Erasure]]
    leave_rooms: Callable[..., Awaitable[list[str]]]
    reports: Reports
    report_queries: ReportQueries
    markers: ReadMarkers
    people_queries: PeopleQueries

    def routes(self, guard: RequestGuard) -> list[Route]:
        """Return a route for each action."""
        return [
            Route(route_path(action.path), self._endpoint(guard, action), methods=["POST"], name=action.path)
            for action in ACTIONS
        ]

    async def erase(self, admin: Identity, person: PersonQuery, request: ToErase) -> Erased:
        """Erase a person for good: their keys are destroyed, and they leave their rooms, on the record. Repeatable."""
        erasure = await self.erase_person(person.user_id, ground=request.ground, by=admin.user)
        rows = await self.models.read(memberships.rooms_of, person.user_id)
        await self.leave_rooms(person.user_id, [row.room_id for row in rows], by=admin.user)
        return Erased(user_id=person.user_id, position=erasure.position, at=timestamp(erasure.at))

    async def suspend(self, admin: Identity, person: PersonQuery, request: ToJudge) -> Judged:
        """Close a person's connections (4503) and refuse new ones, on every node within moments. Repeatable."""
        return await self._judge(
            admin, SetSuspension(user=person.user_id, suspended=True, reason=request.reason)
        )

    async def restore(self, admin: Identity, person: PersonQuery, request: ToJudge) -> Judged:
        """Let a suspended person connect again. Repeatable."""
        return await self._judge(
            admin, SetSuspension(user=person.user_id, suspended=False, reason=request.reason)
        )

    async def resolve(self, admin: Identity, query: ReportQuery, request: ToResolve) -> Resolved:
        """Resolve a report, if administrators see reports. Repeatable."""
        self.report_queries.require_admins()
        command = ResolveReport(
            room=query.room_id, report=query.report_id, outcome=request.outcome, note=request.note
        )
        result = await self.reports.resolve_as_admin(command, admin.user)
        return Resolved(
            room_id=query.room_id, report_id=query.report_id, outcome=request.outcome, at=timestamp(result.at)
        )

    async def mark_unread(self, user: Identity, query: RoomQuery, request: ToMark) -> Marked:
        """Let the user's own unread count begin before a message again, as `message:unread` does. Repeatable."""
        command = MarkUnread(room=query.room_id, message=request.message_id)
        ref = str(uuid4())
        result = await (await self.markers.move(command, user.user, ref, ref.encode()))
        return Marked(room_id=query.room_id, seq=result.seq, at=timestamp(result.at))

    async def _judge(self, admin: Identity, command: SetSuspension) -> Judged:
        unknown = await self.people_queries.unknown(
            [command.user]
        )  # before the suspension puts it on the record
        await self.suspensions.set_suspension(command, admin.user)
        return Judged(user_id=command.user, suspended=command.suspended, unknown=unknown)

    def _endpoint(self, guard: RequestGuard, action: Action) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            user = await guard.admit(request, action.scope, action="act")
            query = parameters(request, action.query)
            answer = await action.do(self, user, query, await body(request, action.body))
            return Response(msgspec.json.encode(answer), media_type="application/json", headers=NO_STORE)

        return serve


ACTIONS = (
    Action("/admin/people/{userId}/erase", ToErase, Erased, Actions.erase),
    Action("/admin/people/{userId}/suspend", ToJudge, Judged, Actions.suspend, refusals=()),
    Action("/admin/people/{userId}/restore", ToJudge, Judged, Actions.restore, refusals=()),
    Action(
        "/admin/rooms/{roomId}/reports/{reportId}/resolve",
        ToResolve,
        Resolved,
        Actions.resolve,
        refusals=("report_not_found",),
        query=ReportQuery,
    ),
    Action(
        "/api/rooms/{roomId}/unread",
        ToMark,
        Marked,
        Actions.mark_unread,
        refusals=("room_not_found", "not_a_member", "message_not_found", "message_deleted"),
        query=RoomQuery,
        scope=CHAT,
    ),
)
"""Every action."""
