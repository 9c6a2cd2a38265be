"""The OpenAPI document is a document, and it is the truth: every endpoint is in it, and every example is one."""

from typing import Any, cast

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from service.config.settings import Settings
from service.gateway.http.admin import Admin
from service.gateway.http.openapi import ANY_READ, EVERY_READ, refusals_of
from service.gateway.http.request import parameter_names
from service.gateway.http.routes import Http
from service.gateway.http.signin import SignIn
from tests.support.http.openapi import DOCUMENT, check
from tests.support.protocol.asyncapi import parts


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
        admin=Admin(part, part, part, part, part, part),
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
        for answer in described["responses"].values()
        for kind in answer["content"].values()
        for code in kind.get("examples", {})
    }
    assert codes == {error.code for error in [*ANY_READ, *refusals_of(read)]}


def test_every_example_is_an_example() -> None:
    contents = [part for part in parts(DOCUMENT["paths"]) if {"schema", "example"} <= set(part)]
    assert contents
    for content in contents:
        check(content["schema"], content["example"])
    for content in [part for part in parts(DOCUMENT["paths"]) if "examples" in part]:
        for one in content["examples"].values():
            check(content["schema"], one["value"])
