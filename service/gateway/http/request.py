"""The checks of an HTTP request to the chat's API, its parameters and its JSON body."""

import re
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from service.domain.account import require_standing
from service.errors import Malformed, OnRecordError, Unavailable
from service.eventstore.readiness import Readiness
from service.gateway.auth.charges import Charges
from service.gateway.auth.origins import check_origin
from service.gateway.auth.refusal_log import RefusalLog
from service.gateway.auth.tokens import Identity, TokenVerifier, bearer
from service.gateway.transport.client_address import address_key, canonical_address
from service.gateway.transport.problem import TokenMissing
from service.protocol import commands
from service.protocol.forms import problem_of
from service.protocol.strict_json import NotJson, check_strings, parse_json, shortened
from service.realtime.user_cache import UserCache

MAX_BODY = 16 * 1024

_where = re.compile(r" - at '\$\.(\w+)[^']*'\Z")

T = TypeVar("T", bound=msgspec.Struct)


class BadParameter(Malformed):
    """`data`: `problem`, and `parameter`, the name of the wrong parameter."""

    shown = ("parameter",)


@dataclass(frozen=True, kw_only=True)
class RequestGuard:
    """Checks a request before its answer is looked up."""

    origins: tuple[str, ...]
    readiness: Readiness
    tokens: TokenVerifier
    people: UserCache
    charges: Charges
    refusals: RefusalLog

    async def admit(self, request: Request, scope: str, *, action: str) -> Identity:
        """Return the identity of a request, and count it as one command; `action` is a verb for the error text.

        Raises:
            TokenMissing, TokenInvalid, TokenExpired, TokenNotYetValid: there is no token, or it is not valid.
            NotAllowed: the page's origin is not allowed, or the token does not grant `scope`.
            AccountErased, AccountSuspended: the account is erased or suspended.
            TooManyRequests: the user's rate limit is reached.
            Unavailable: the log cannot be read.
        """
        try:
            return await self._admit(request, scope, action)
        except OnRecordError as error:
            self.refuse(request, error)
            raise

    def refuse(self, request: Request, error: OnRecordError) -> None:
        """Log the refusal of a request."""
        self.refusals.write("http", address_of(request), error.code, error)

    async def _admit(self, request: Request, scope: str, action: str) -> Identity:
        check_origin(request.headers, self.origins, action)
        if not self.readiness.ready:
            raise Unavailable
        authorization = request.headers.get("authorization")
        token = bearer(authorization)
        if token is None:
            raise TokenMissing if authorization is None else TokenMissing(_NO_BEARER)
        identity = await self.tokens.verify(token)
        await self.people.load([identity.user])
        require_standing(self.people.account(identity.user))
        identity.require(scope)
        self.charge(request, identity.user, 1)
        return identity

    def charge(self, request: Request, user: str, price: int) -> None:
        """Charge a user and the address of a request, as for a command.

        Raises:
            TooManyRequests: the user or the address has less left.
        """
        if price:
            self.charges.take(user, address_key(request.client.host if request.client else None), price)


_NO_BEARER = "the header Authorization has another form than Bearer TOKEN"

_EXPECTED = {"int": "a whole number", "bool": "true or false"}
"""What a parameter has to be, by msgspec's name; that the sent value is text goes without saying in a URL."""

_BOUND, _AT = re.compile("Expected 'int' (>=|<=) "), {">=": "at least", "<=": "at most"}
_MISSING = re.compile(r"Object missing required field '(\w+)'")
_MISSED = re.compile(r"The parameter (\w+) is missing")


def address_of(request: Request) -> str | None:
    """Return the address of the client; None if it is not known."""
    return canonical_address(request.client.host if request.client else None)


def parameter_names(query: type[msgspec.Struct]) -> list[str]:
    """Return the names of a query's parameters, without `type` and `ref` of a command."""
    frame_fields = ("type", "ref") if issubclass(query, commands.Frame) else ()
    return [name for name in query.__struct_encode_fields__ if name not in frame_fields]


def parameters(request: Request, query: type[T]) -> T:
    """Return the parameters in the path and the query of a request.

    Raises:
        BadParameter: a parameter is unknown, given twice, or has a wrong value.
    """
    given: dict[str, str] = dict(request.path_params)
    for name, value in request.query_params.multi_items():
        if name in given or name not in parameter_names(query):
            problem = "came twice" if name in given else "is not known here"
            named = shortened(name)
            raise BadParameter(problem=f"The parameter {named} {problem}.", parameter=named)
        given[name] = value
    kind = {"type": query.TYPE} if issubclass(query, commands.Frame) else {}
    given |= kind
    try:
        return msgspec.convert(given, query, strict=False)
    except msgspec.ValidationError as error:
        words = problem_of(error, given, query)
        for wanted, expected in _EXPECTED.items():
            words = words.replace(f"Expected '{wanted}', got 'str'", f"Expected {expected}")
        words = _BOUND.sub(lambda bound: f"Expected a whole number of {_AT[bound[1]]} ", words)
        words = _MISSING.sub(r"The parameter \1 is missing.", words)
        problem = shortened(words)
        found = _where.search(problem) or _MISSED.match(problem)
        raise BadParameter(problem=problem, parameter=found[1] if found else "") from error


async def body(request: Request, kind: type[T]) -> T:
    """Return the JSON object in a request's body, parsed as strictly as frames (`service.protocol.strict_json`).

    An empty body is an empty object: no field is required of some.

    Raises:
        HTTPException: the body is longer than `MAX_BODY` bytes, or the client closed before its end.
        Malformed: the body is not strict JSON, or not an object of that kind.
    """
    read = bytearray()
    try:
        async for chunk in request.stream():
            read += chunk
            if len(read) > MAX_BODY:
                raise HTTPException(413)
    except ClientDisconnect as error:
        raise HTTPException(
            400
        ) from error  # uvicorn drops the response; another exception is logged as an error
    try:
        value = parse_json(read.decode()) if read else {}
    except (NotJson, UnicodeDecodeError) as error:
        raise Malformed(problem="The body is not valid JSON.") from error
    check_strings(value, "$")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Malformed(problem=shortened(problem_of(error, value, kind))) from error
