"""The OpenAPI 3.1 document of the HTTP endpoints, generated from the tables of reads and actions and their structs."""

from collections.abc import Iterable
from http import HTTPStatus
from itertools import groupby
from typing import Any

import msgspec

from service.config.parsers import CALLBACK
from service.errors import (
    DemoNamesOff,
    Malformed,
    NotAllowed,
    OnRecordError,
    Overloaded,
    ProviderAway,
    SignInDenied,
    SignInInvalid,
    SignInOver,
    SignInUnknown,
    TokenExpired,
    TokenInvalid,
    TokenNotYetValid,
    TooManyRequests,
    Trouble,
    every_error,
)
from service.gateway.http.actions import ACTIONS, Action
from service.gateway.http.audits import AUDITS
from service.gateway.http.endpoint import JSON, Read
from service.gateway.http.request import parameter_names
from service.gateway.http.rooms import READS
from service.gateway.transport import problem
from service.protocol import http
from service.protocol.contract import examples, operations, schemas
from service.protocol.problems import status_of

DESCRIPTION = (
    "Reads of the chat without a real-time connection, and administrators' actions on people. Live events, and all "
    "commands of members, use the endpoints that `/asyncapi.yaml` describes. Each read has the rules and payloads of "
    "the command it corresponds to. Each read and each action counts as one command. Every read answers HEAD too. "
    "Errors are RFC 9457 problem documents with the error codes of the real-time endpoints. Times are RFC 3339, UTC, "
    "with microseconds."
)

ANY_READ: tuple[type[OnRecordError], ...] = (
    *(Malformed, TokenInvalid, TokenExpired, TokenNotYetValid, NotAllowed, TooManyRequests),
    *(error for error in every_error().values() if issubclass(error, Trouble)),
)
"""The errors that any read may be refused with, besides its own."""

EVERY_READ = (*READS, *AUDITS)

_HEADERS = {
    401: {"WWW-Authenticate": "The challenge, and the error of the given token (RFC 6750)."},
    429: {"Retry-After": "Seconds until the next request is accepted."},
    503: {"Retry-After": "Seconds after which to retry."},
}

Part = dict[str, Any]


def document(version: str) -> Part:
    """Return the document as plain values, in a stable order; `version` is the version of the wire contract."""
    signing_in = (http.SignIns, http.SignInBegun, http.SignInReturn, http.SignedIn, http.ToRenew)
    others = (http.DemoSignIn, http.DemoToken, http.Readiness, http.Problem, *signing_in)
    known = schemas.Catalogue([*_structs(), *others])
    shown = {
        name: schema for name, schema in known.components.items() if name not in {*map(_name, _queries())}
    }
    paths = {
        **{read.path: {"get": _read(read, known)} for read in EVERY_READ},
        **{action.path: {"post": _action(action, known)} for action in ACTIONS},
        **_others(known),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "OnRecord", "version": version, "description": DESCRIPTION},
        "servers": [{"url": "http://localhost:8000", "description": "What `make run` starts."}],
        "tags": [{"name": name, "description": text} for name, text in operations.TAGS.items()],
        "paths": {
            path: {
                method: operations.complete(method.upper(), path, described)
                for method, described in methods.items()
            }
            for path, methods in paths.items()
        },
        "components": {
            "schemas": shown,
            "responses": {
                _response_name(status): _refusal(status, errors, known) for status, errors in _COMMON.items()
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def refusals_of(read: Read | Action) -> list[type[OnRecordError]]:
    """Return the errors that only this read or action has."""
    known = every_error()
    return [known[code] for code in read.refusals if code in known]


def _queries() -> list[type[msgspec.Struct]]:
    return [*(read.query for read in EVERY_READ), *{action.query: None for action in ACTIONS}]


def _structs() -> list[type[msgspec.Struct]]:
    asked = [kind for action in ACTIONS for kind in (action.body, action.answer)]
    return [*_queries(), *(read.answer for read in EVERY_READ), *asked]


def _name(cls: type) -> str:
    return cls.__name__


def _read(read: Read, known: schemas.Catalogue) -> Part:
    parameters = _parameters(read.path, read.query, known)
    return {
        "summary": " ".join((read.ask.__doc__ or "").split("Raises:")[0].split()),
        "security": [{"bearer": [read.scope]}],
        **({"parameters": parameters} if parameters else {}),
        "responses": {
            "200": {
                "description": schemas.summary(read.answer),
                "headers": {"Cache-Control": {"schema": {"const": "no-store"}}},
                "content": _json(known, read.answer, read.media),
            },
            **_refusals([*ANY_READ, *refusals_of(read)], known),
        },
    }


def _action(action: Action, known: schemas.Catalogue) -> Part:
    return {
        "summary": " ".join((action.do.__doc__ or "").split()),
        "security": [{"bearer": [action.scope]}],
        "parameters": _parameters(action.path, action.query, known),
        "requestBody": {
            "required": any(field.required for field in msgspec.structs.fields(action.body)),
            "content": _json(known, action.body),
        },
        "responses": {
            "200": {"description": schemas.summary(action.answer), "content": _json(known, action.answer)},
            **_refusals([*ANY_READ, *refusals_of(action)], known),
        },
    }


def _parameters(path: str, query: type[msgspec.Struct], known: schemas.Catalogue) -> list[Part]:
    schema = known.schema(query)
    return [
        {
            "name": name,
            "in": "path" if f"{{{name}}}" in path else "query",
            "description": operations.parameter_description(query, name),
            "required": name in schema.get("required", ()),
            "schema": _given(schema["properties"][name]),
        }
        for name in parameter_names(query)
    ]


def _given(schema: Part) -> Part:
    """Return a parameter's schema without null: an optional parameter is left out of a request instead."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    return {key: value for key, value in kinds[0].items() if (key, value) != ("default", None)}


def _by_status(errors: Iterable[type[OnRecordError]]) -> dict[int, list[type[OnRecordError]]]:
    return {status: list(group) for status, group in groupby(sorted(errors, key=status_of), status_of)}


_COMMON = _by_status(ANY_READ)
"""The refusals of any read, which the operations refer to."""


def _response_name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def _refusals(errors: Iterable[type[OnRecordError]], known: schemas.Catalogue) -> Part:
    return {
        str(status): (
            {"$ref": f"#/components/responses/{_response_name(status)}"}
            if group == _COMMON.get(status)
            else _refusal(status, group, known)
        )
        for status, group in _by_status(errors).items()
    }


def _refusal(status: int, errors: list[type[OnRecordError]], known: schemas.Catalogue) -> Part:
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in _HEADERS.get(status, {}).items()
    }
    shown = {error.code: {"value": examples.problem(error)} for error in errors}
    content = {"schema": known.reference(http.Problem), "examples": shown}
    return {
        "description": ", ".join(error.code for error in errors),
        **({"headers": headers} if headers else {}),
        "content": {problem.MEDIA_TYPE: content},
    }


def _others(known: schemas.Catalogue) -> Part:
    """Return the endpoints that are neither reads nor actions."""
    text: Part = {"schema": {"type": "string"}}
    yaml, ready = {"application/yaml": text}, _json(known, http.Readiness)
    readyz = _plain(known, "Commands can be recorded now.", ready)
    readyz["responses"] = {
        "200": {"description": "Commands can be recorded.", "content": ready},
        "503": {"description": "Commands cannot be recorded.", "content": ready},
    }
    metrics = _plain(
        known, "The metrics of the node, for Prometheus.", {"text/plain": text},
        note="If ONRECORD_METRICS_TOKEN is set, it is the bearer token; if ONRECORD_METRICS_PORT is set, the metrics "
        "are at that port only.",
    )  # fmt: skip
    token = _plain(
        known, "A token for any user id; under `onrecord dev` only.", _json(known, http.DemoToken),
        asked=http.DemoSignIn, refusals=[Malformed, DemoNamesOff],
    )  # fmt: skip
    token["responses"]["200"]["description"] = schemas.summary(http.DemoToken)
    return {
        "/": {"get": _plain(known, "The web client.", {"text/html": text})},
        "/healthz": {"get": _plain(known, "The process responds.", {"text/plain": text})},
        "/readyz": {"get": readyz},
        "/metrics": {"get": metrics},
        "/asyncapi.yaml": {"get": _plain(known, "The AsyncAPI document of the real-time endpoints.", yaml)},
        "/openapi.yaml": {"get": _plain(known, "This document.", yaml)},
        **_signing_in(known),
        "/dev/token": {"post": token},
    }


def _signing_in(known: schemas.Catalogue) -> Part:
    """Return the endpoints of the sign-in at an identity provider."""
    signed_in, note = _json(known, http.SignedIn), "Exists if ONRECORD_OIDC_CLIENT_ID is set."
    page = {"text/html": {"schema": {"type": "string"}}}
    begin = _plain(
        known, "The address at which a browser signs in.", _json(known, http.SignInBegun),
        refusals=[NotAllowed, TooManyRequests, ProviderAway], note=note,
    )  # fmt: skip
    finish = _plain(
        known, "Complete a sign-in after the return from the identity provider.", signed_in,
        asked=http.SignInReturn, note=note,
        refusals=[SignInUnknown, SignInInvalid, SignInDenied, TooManyRequests, ProviderAway, Overloaded],
    )  # fmt: skip
    renew = _plain(
        known, "A new token for a sign-in whose cookie the browser has.", signed_in,
        asked=http.ToRenew, note=note,
        refusals=[SignInOver, SignInInvalid, NotAllowed, TooManyRequests, ProviderAway, Overloaded],
    )  # fmt: skip
    end = _plain(
        known, "End a sign-in: it cannot be renewed any more.", {}, asked=http.ToRenew, note=note,
        refusals=[NotAllowed, TooManyRequests],
    )  # fmt: skip
    del end["responses"]["200"]
    end["responses"] = {"204": {"description": "The sign-in has ended."}, **end["responses"]}
    return {
        "/signin": {"get": _plain(known, "The ways to sign in.", _json(known, http.SignIns))},
        "/signin/begin": {"post": begin},
        CALLBACK: {"get": _plain(known, "The web client, which finishes the sign-in.", page, note=note)},
        "/signin/finish": {"post": finish},
        "/signin/renew": {"post": renew},
        "/signin/end": {"post": end},
    }


def _plain(
    known: schemas.Catalogue,
    summary: str,
    content: Part,
    *,
    asked: type[msgspec.Struct] | None = None,
    refusals: Iterable[type[OnRecordError]] = (),
    note: str | None = None,
) -> Part:
    """Return an operation without a token; `asked` is the struct of its body."""
    return {
        "summary": summary,
        **({"description": note} if note else {}),
        "security": [],
        **({"requestBody": {"required": True, "content": _json(known, asked)}} if asked else {}),
        "responses": {"200": {"description": summary, "content": content}, **_refusals(refusals, known)},
    }


def _json(known: schemas.Catalogue, cls: type[msgspec.Struct], media: str = JSON) -> Part:
    return {media: {"schema": known.reference(cls)}}
