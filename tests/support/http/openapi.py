"""Checks responses against the OpenAPI document."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jsonschema
import yaml

from service.gateway.http.documents import openapi_yaml
from tests.support.environment import token
from tests.support.processes.processes import Process

DOCUMENT: dict[str, Any] = yaml.safe_load(openapi_yaml())


def check(schema: dict[str, Any], value: object) -> None:
    """Check a value against a schema of the document."""
    whole = {"allOf": [schema], "components": DOCUMENT["components"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(whole, format_checker=checker).validate(value)


def answers(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the responses of an operation by status, each as it is described where it is referred to."""
    common = DOCUMENT["components"]["responses"]
    return {
        status: common[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
        for status, response in operation["responses"].items()
    }


@asynccontextmanager
async def reader(node: Process, user: str | None, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give an HTTP client of a user; None sends no token."""
    known = {"Authorization": f"Bearer {token(user)}"} if user else {}
    async with httpx.AsyncClient(base_url=node.address, headers={**known, **headers}) as http:
        yield http


def promised(answer: httpx.Response, path: str) -> Any:
    """Return the answer's content, checked against the OpenAPI document for that path and status."""
    described = answers(DOCUMENT["paths"][path]["get"])[str(answer.status_code)]
    kind = answer.headers["content-type"]
    schema = described["content"][kind]["schema"]
    value = answer.json()
    check(schema, value)
    assert answer.headers["cache-control"] == "no-store"
    for name in described.get("headers", {}):
        assert name in answer.headers
    if kind == "application/problem+json":
        assert value["status"] == answer.status_code
        assert value["code"] in described["description"].split(", ")
    return value
