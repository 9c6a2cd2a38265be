"""The OpenAPI document is a document, and it is the truth: every endpoint is in it, and every example is one."""

import re
from typing import Any, cast

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from service.config.settings import Settings
from service.gateway.http.actions import Actions
from service.gateway.http.openapi import ANY_READ, EVERY_READ, refusals_of
from service.gateway.http.request import parameter_names
from service.gateway.http.routes import Http
from service.gateway.http.signin import SignIn
from service.protocol.contract import operations
from tests.support.http.openapi import DOCUMENT, answers, check
from tests.support.protocol.asyncapi import parts

VERB_NOUN = re.compile(
    "(find|get|mark|list|stream|export|compare|erase|suspend|restore|resolve|create|begin|finish|renew|end)([A-Z][a-z]+)+"
)


def test_the_document_is_valid_by_the_specification() -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_endpoint_is_in_it_and_no_other() -> None:
    settings = Settings(dev=True, oidc_client_id="chat")
    part = cast("Any", None)
    http = Http(
        settings=settings,
        guard=part,
        reads=part,
        audits=part,
        actions=Actions(part, part, part, part, part, part, part, part),
        signin=SignIn(settings, part, part, part, part),
        probe=part,
        readiness=part,
        relay=part,
        sessions=part,
        tokens=part,
        exposition=part,
    )
    served = {
        (route.path.replace(":path", ""), method)
        for route in http.routes()
        if isinstance(route, Route)
        for method in (route.methods or ())
        if method in ("GET", "POST")
    }
    assert served == {
        (path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods
    }


def test_every_operation_has_a_name_and_a_tag_for_generated_clients() -> None:
    described = {
        f"{method.upper()} {path}": operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
    assert described.keys() == operations.OPERATIONS.keys(), (
        "name the operation in service/protocol/contract/operations.py"
    )
    names = [operation["operationId"] for operation in described.values()]
    assert len(set(names)) == len(names)
    for name in names:
        assert VERB_NOUN.fullmatch(name), name
    assert [tag["name"] for tag in DOCUMENT["tags"]] == [*operations.TAGS]
    assert {tag for operation in described.values() for tag in operation["tags"]} == set(operations.TAGS)
    assert all(operation["summary"] for operation in described.values())


def test_every_parameter_is_described() -> None:
    for described in parts(DOCUMENT["paths"]):
        for parameter in described.get("parameters", ()):
            assert parameter["description"].endswith("."), (
                f"describe {parameter['name']} in service/protocol/contract/operations.py"
            )


@pytest.mark.parametrize("read", EVERY_READ, ids=lambda read: read.path)
def test_every_parameter_and_every_refusal_of_a_read_is_in_it(read: Any) -> None:
    described = DOCUMENT["paths"][read.path]["get"]
    parameters = described.get("parameters", [])
    assert [one["name"] for one in parameters] == parameter_names(read.query)
    for one in parameters:
        assert one["required"] or one["in"] == "query"
        check(one["schema"], one["example"])
    codes = {
        code
        for answer in answers(described).values()
        for kind in answer["content"].values()
        for code in kind.get("examples", {})
    }
    assert codes == {error.code for error in [*ANY_READ, *refusals_of(read)]}


def test_every_example_is_an_example() -> None:
    contents = [part for part in parts(DOCUMENT["paths"]) if {"schema", "example"} <= set(part)]
    assert contents
    for content in contents:
        check(content["schema"], content["example"])
    for content in [part for part in parts(DOCUMENT) if {"schema", "examples"} <= set(part)]:
        for one in content["examples"].values():
            check(content["schema"], one["value"])
