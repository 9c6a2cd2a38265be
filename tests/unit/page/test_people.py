"""Whom the page takes a typed text for."""

from typing import Any

import pytest

from tests.support.page.page_modules import PageModules

pytestmark = pytest.mark.needs("node")

BOB = {"userId": "bob", "name": "Robert"}
ANN = {"userId": "u1", "name": "José Núñez"}
OTHER = {"userId": "u2", "name": "robert"}


def meant(page: PageModules, text: str, *users: dict[str, str], among: str | None = "anyone") -> Any:
    found: dict[str, Any] = {"users": list(users)} | ({"among": among} if among else {})
    return page.call("people.js", "meant", text, found)


@pytest.mark.parametrize(
    ("text", "users", "user"),
    [
        ("bob", [BOB, {"userId": "bobby", "name": "bob"}], BOB),
        ("BOB", [BOB], BOB),
        ("ROBERT", [BOB], BOB),
        ("José Núñez", [ANN, BOB], ANN),
    ],
)
def test_a_person_who_is_found_is_meant(page: PageModules, text: str, users: Any, user: Any) -> None:
    assert meant(page, text, *users) == {"user": user}


@pytest.mark.parametrize("text", ["Org/User=", "a+b@example.com", "dGVzdA==", "-x"])
@pytest.mark.parametrize("among", ["anyone", "shared", None])
def test_an_id_that_is_not_found_stays_as_typed_after_a_question(
    page: PageModules, text: str, among: str | None
) -> None:
    answer = meant(page, text, BOB, among=among)
    assert answer["user"] == {"userId": text, "name": text}
    assert ("question" in answer) == (among is not None)
    assert text in answer.get("question", text)


@pytest.mark.parametrize("among", ["anyone", None])
@pytest.mark.parametrize("text", ["Nobody Such", "service:x", "é", "x" * 256])
def test_what_is_neither_a_name_nor_an_id_is_a_problem(
    page: PageModules, text: str, among: str | None
) -> None:
    assert list(meant(page, text, BOB, among=among)) == ["problem"]


def test_one_of_several_of_a_name_has_to_be_chosen(page: PageModules) -> None:
    assert list(meant(page, "Robert", BOB, OTHER)) == ["problem"]
