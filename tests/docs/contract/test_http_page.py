"""The page about HTTP names the operations of the OpenAPI document, with the fields that they have."""

import re

from tests.support.environment import ROOT
from tests.support.http.openapi import DOCUMENT

PAGE = (ROOT / "docs" / "reference" / "http.md").read_text()
PATHS = set(re.findall(r"`(?:GET |POST )?(/[\w./{}-]*)", PAGE))


def test_the_page_has_every_operation_and_no_other() -> None:
    described = set(DOCUMENT["paths"])
    assert described - PATHS == set()
    assert {
        path for path in PATHS if path not in described and path.startswith(("/api/", "/admin/", "/signin"))
    } == set()


def test_the_fields_in_braces_are_those_of_the_document() -> None:
    rows = re.findall(r"^\| `POST (/[\w/]+)` (?:\{([^}]*)\} )?\| (?:\{([^}]*)\})?", PAGE, re.MULTILINE)
    assert rows
    for path, asked, answered in rows:
        if not asked and not answered:
            continue
        operation = DOCUMENT["paths"][path]["post"]
        if asked:
            assert names(asked) == fields(operation["requestBody"])
        if answered:
            assert names(answered) == fields(operation["responses"]["200"])


def names(listed: str) -> set[str]:
    return {name.strip(" ?") for name in listed.split(",")}


def fields(part: dict[str, dict[str, dict[str, dict[str, str]]]]) -> set[str]:
    reference = part["content"]["application/json"]["schema"]["$ref"]
    return set(DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
