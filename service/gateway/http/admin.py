"""What administrators do to people over HTTP: the table of actions, and the endpoint that serves each.

The rule: an action needs a token with the scope `admin`, and is on the record in the administrator's name.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from projections import memberships
from service.domain.commands import SetSuspension
from service.errors import NotAllowed, Unavailable
from service.gateway.auth.origins import allowed_origin
from service.gateway.auth.tokens import ADMIN, Identity
from service.gateway.http.authenticate import authenticate
from service.gateway.http.body import body
from service.gateway.http.endpoint import NO_STORE, parameters
from service.gateway.queries.views import Views
from service.gateway.services import Services
from service.protocol.events import timestamp
from service.protocol.http import Erased, Judged, PersonQuery, ToErase, ToJudge


class Action(msgspec.Struct, frozen=True):
    """An action on the person in its path: the `body` that comes with it, the `answer`, and its refusals' codes."""

    path: str
    body: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    do: "Callable[[Admin, Identity, str, Any], Awaitable[msgspec.Struct]]"
    refusals: tuple[str, ...] = ("user_not_found",)


class Admin:
    """The actions, over a node's services."""

    def __init__(self, services: Services) -> None:
        self._s = services

    def routes(self) -> list[Route]:
        """Return a route for each."""
        return [
            Route(action.path, self._endpoint(action), methods=["POST"], name=action.path)
            for action in ACTIONS
        ]

    async def erase(self, admin: Identity, person: str, asked: ToErase) -> Erased:
        """Erase a person for good: their keys are destroyed, and they leave their rooms, on the record. Repeatable."""
        erasure = await self._s.erase(person, ground=asked.ground, by=admin.user)
        rows = await Views(self._s).read(memberships.rooms_of, person)
        await self._s.leave_rooms(person, [row.room_id for row in rows], by=admin.user)
        return Erased(user_id=person, position=erasure.position, at=timestamp(erasure.at))

    async def suspend(self, admin: Identity, person: str, asked: ToJudge) -> Judged:
        """Close a person's connections (4503) and let them in no more, on every node within moments. Repeatable."""
        return await self._judge(admin, SetSuspension(user=person, suspended=True, reason=asked.reason))

    async def restore(self, admin: Identity, person: str, asked: ToJudge) -> Judged:
        """Let a person who was suspended come in again. Repeatable."""
        return await self._judge(admin, SetSuspension(user=person, suspended=False, reason=asked.reason))

    async def _judge(self, admin: Identity, command: SetSuspension) -> Judged:
        await self._s.judging.set_suspension(command, admin.user)
        return Judged(user_id=command.user, suspended=command.suspended)

    def _endpoint(self, action: Action) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            if not allowed_origin(request.headers, self._s.settings.origins):
                raise NotAllowed(problem="Pages of this origin may not act here.")
            if not self._s.readiness.ready:
                raise Unavailable
            admin = await authenticate(self._s, request, ADMIN)
            self._s.rate.take(admin.user)
            query = parameters(request, PersonQuery)
            answer = await action.do(self, admin, query.user_id, await body(request, action.body))
            return Response(msgspec.json.encode(answer), media_type="application/json", headers=NO_STORE)

        return serve


ACTIONS = (
    Action("/admin/people/{userId}/erase", ToErase, Erased, Admin.erase),
    Action("/admin/people/{userId}/suspend", ToJudge, Judged, Admin.suspend, refusals=()),
    Action("/admin/people/{userId}/restore", ToJudge, Judged, Admin.restore, refusals=()),
)
"""Every action."""
