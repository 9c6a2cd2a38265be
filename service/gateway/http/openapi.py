"""The OpenAPI 3.1 document of the HTTP side, made from the table of reads and the structs of the wire."""

from collections.abc import Iterable
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
    TooManyRequests,
    Trouble,
    every_error,
)
from service.gateway.http.admin import ACTIONS, Action
from service.gateway.http.audits import AUDITS
from service.gateway.http.endpoint import JSON, Read
from service.gateway.http.request import parameter_names
from service.gateway.http.rooms import READS
from service.gateway.transport import problem
from service.protocol.contract import examples, schemas
from service.protocol.http import (
    DemoSignIn,
    DemoToken,
    PersonQuery,
    Problem,
    Readiness,
    SignedIn,
    SignInBegun,
    SignInReturn,
    SignIns,
    ToRenew,
)
from service.protocol.problems import problem_fields, status_of

DESCRIPTION = (
    "What can be read of a chat without a connection of its own, and what administrators do to people; all that is "
    "live, and all that members write, goes over the doors that `/asyncapi.yaml` describes. Each read has the rules "
    "and payloads of the command it stands for, and counts as one command, as each action does. Every read answers "
    "HEAD too. Errors are RFC 9457 problem documents with the codes of every door. Times are RFC 3339, UTC, with "
    "microseconds."
)

ANY_READ: tuple[type[OnRecordError], ...] = (
    *(Malformed, TokenInvalid, TokenExpired, NotAllowed, TooManyRequests),
    *(error for error in every_error().values() if issubclass(error, Trouble)),
)
"""What any read may be refused with, besides its own refusals."""

EVERY_READ = (*READS, *AUDITS)

_HEADERS = {
    401: {"WWW-Authenticate": "What is wanted, and what was wrong with what was given (RFC 6750)."},
    429: {"Retry-After": "Seconds until the next request is accepted."},
    503: {"Retry-After": "Seconds after which to ask again."},
}

Part = dict[str, Any]


def document(version: str) -> Part:
    """Return the document as plain values, in a stable order; `version` is that of the wire contract."""
    known = schemas.Catalogue(
        [
            *_structs(),
            DemoSignIn,
            DemoToken,
            Readiness,
            Problem,
            SignIns,
            SignInBegun,
            SignInReturn,
            SignedIn,
            ToRenew,
        ]
    )
    shown = {
        name: schema for name, schema in known.components.items() if name not in {*map(_name, _queries())}
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "OnRecord", "version": version, "description": DESCRIPTION},
        "servers": [{"url": "http://localhost:8000", "description": "What `make run` starts."}],
        "paths": {
            **{read.path: {"get": _read(read, known)} for read in EVERY_READ},
            **{action.path: {"post": _action(action, known)} for action in ACTIONS},
            **_others(known),
        },
        "components": {
            "schemas": shown,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def refusals_of(read: Read | Action) -> list[type[OnRecordError]]:
    """Return the errors that a request may be refused with besides those that any may."""
    known = every_error()
    return [known[code] for code in read.refusals if code in known]


def _queries() -> list[type[msgspec.Struct]]:
    return [*(read.query for read in EVERY_READ), PersonQuery]


def _structs() -> list[type[msgspec.Struct]]:
    asked = [kind for action in ACTIONS for kind in (action.body, action.answer)]
    return [*_queries(), *(read.answer for read in EVERY_READ), *asked]


def _name(cls: type) -> str:
    return cls.__name__


def _read(read: Read, known: schemas.Catalogue) -> Part:
    parameters = _parameters(read.path, read.query, known)
    return {
        "operationId": read.ask.__name__,
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
        "operationId": action.do.__name__,
        "summary": " ".join((action.do.__doc__ or "").split()),
        "security": [{"bearer": ["admin"]}],
        "parameters": _parameters(action.path, PersonQuery, known),
        "requestBody": {"required": True, "content": _json(known, action.body)},
        "responses": {
            "200": {"description": schemas.summary(action.answer), "content": _json(known, action.answer)},
            **_refusals([*ANY_READ, *refusals_of(action)], known),
        },
    }


def _parameters(path: str, query: type[msgspec.Struct], known: schemas.Catalogue) -> list[Part]:
    schema, samples = known.schema(query), examples.example(query)
    return [
        {
            "name": name,
            "in": "path" if f"{{{name}}}" in path else "query",
            "required": name in schema.get("required", ()),
            "schema": _given(schema["properties"][name]),
            "example": samples[name],
        }
        for name in parameter_names(query)
    ]


def _given(schema: Part) -> Part:
    """Return a parameter's schema: one that may be null in a struct is left out of a request instead."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    return {key: value for key, value in kinds[0].items() if (key, value) != ("default", None)}


def _refusals(errors: Iterable[type[OnRecordError]], known: schemas.Catalogue) -> Part:
    ordered = sorted(errors, key=status_of)
    return {
        str(status): _refusal(status, list(group), known) for status, group in groupby(ordered, status_of)
    }


def _refusal(status: int, errors: list[type[OnRecordError]], known: schemas.Catalogue) -> Part:
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in _HEADERS.get(status, {}).items()
    }
    shown = {error.code: {"value": problem_fields(examples.error_example(error))} for error in errors}
    content = {"schema": known.reference(Problem), "examples": shown}
    return {
        "description": ", ".join(error.code for error in errors),
        **({"headers": headers} if headers else {}),
        "content": {problem.MEDIA_TYPE: content},
    }


def _others(known: schemas.Catalogue) -> Part:
    """Return the endpoints that are no reads of the chat."""
    text, yaml = {"schema": {"type": "string"}}, {"schema": {"type": "string"}}
    return {
        "/": {"get": _plain("page", "The web client.", {"text/html": text})},
        "/healthz": {"get": _plain("healthz", "The process lives and answers.", {"text/plain": text})},
        "/readyz": {
            "get": {
                **_plain("readyz", "Commands can be recorded now.", _json(known, Readiness)),
                "responses": {
                    "200": {"description": "They can.", "content": _json(known, Readiness)},
                    "503": {"description": "They cannot.", "content": _json(known, Readiness)},
                },
            }
        },
        "/metrics": {
            "get": {
                **_plain("metrics", "What the node counts, for Prometheus.", {"text/plain": text}),
                "description": "Where ONRECORD_METRICS_TOKEN is set, that is the bearer token; where "
                "ONRECORD_METRICS_PORT is, it is at that port and not here.",
            }
        },
        "/asyncapi.yaml": {
            "get": _plain("asyncapi", "The AsyncAPI document of the doors.", {"application/yaml": yaml})
        },
        "/openapi.yaml": {"get": _plain("openapi", "This document.", {"application/yaml": yaml})},
        **_signing_in(known),
        "/dev/token": {
            "post": {
                "operationId": "demo_token",
                "summary": "A token for whoever asks; under `onrecord dev` only.",
                "security": [],
                "requestBody": {"required": True, "content": _json(known, DemoSignIn)},
                "responses": {
                    "200": {"description": schemas.summary(DemoToken), "content": _json(known, DemoToken)},
                    **_refusals([Malformed, DemoNamesOff], known),
                },
            }
        },
    }


def _signing_in(known: schemas.Catalogue) -> Part:
    """Return the endpoints of the page's sign-in at an identity provider."""
    begin = _plain("begin", "Where a browser goes to sign in.", _json(known, SignInBegun))
    finish = _plain("finish", "Who came back from the identity provider.", _json(known, SignedIn))
    begin["responses"] |= _refusals([NotAllowed, TooManyRequests, ProviderAway], known)
    refusals = [SignInUnknown, SignInInvalid, SignInDenied, TooManyRequests, ProviderAway, Overloaded]
    finish["responses"] |= _refusals(refusals, known)
    finish["requestBody"] = {"required": True, "content": _json(known, SignInReturn)}
    renew = _plain("renew", "A new token for a sign-in that the browser keeps.", _json(known, SignedIn))
    again = [SignInOver, SignInInvalid, NotAllowed, TooManyRequests, ProviderAway, Overloaded]
    renew["responses"] |= _refusals(again, known)
    end = _plain("end", "A sign-in is not renewed any more.", {})
    end["responses"] = {
        "204": {"description": "It is not."},
        **_refusals([NotAllowed, TooManyRequests], known),
    }
    for asked in (renew, end):
        asked["requestBody"] = {"required": True, "content": _json(known, ToRenew)}
    there = "Where ONRECORD_OIDC_CLIENT_ID is set."
    page = _plain(
        "callback",
        "The web client, which finishes the sign-in.",
        {"text/html": {"schema": {"type": "string"}}},
    )
    return {
        "/signin": {"get": _plain("offered", "The ways to sign in.", _json(known, SignIns))},
        "/signin/begin": {"post": {**begin, "description": there}},
        CALLBACK: {"get": {**page, "description": there}},
        "/signin/finish": {"post": {**finish, "description": there}},
        "/signin/renew": {"post": {**renew, "description": there}},
        "/signin/end": {"post": {**end, "description": there}},
    }


def _plain(name: str, summary: str, content: Part) -> Part:
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {"200": {"description": summary, "content": content}},
    }


def _json(known: schemas.Catalogue, cls: type[msgspec.Struct], media: str = JSON) -> Part:
    return {media: {"schema": known.reference(cls), "example": examples.example(cls)}}
