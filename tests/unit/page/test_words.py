"""What the page makes of texts: the users that they mention, and what a screen reader says of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.protocol.commands import USER_ID
from tests.support.clients.subjects import SUBJECTS
from tests.support.page.page_modules import STATIC, PageModules

pytestmark = pytest.mark.needs("node")

MEMBERS = ("bob", "Carol", "dave.x", "eve|1", *SUBJECTS)


def mentions(page: PageModules, text: str) -> list[str]:
    return page.call("mentions.js", "mentionsOf", text, list(MEMBERS)) or []


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("@bob, see @Carol.", ["bob", "Carol"]),
        ("@BOB and @carol!", ["bob", "Carol"]),
        ("(@dave.x) @Eve|1.", ["dave.x", "eve|1"]),
        ("mail bob@carol or .@bob", []),
        ("@bob @bob", ["bob"]),
        ("@zoe. @Zed", ["zoe.", "zoe", "Zed", "zed"]),  # not loaded: the server knows
        ("@zoe @bob", ["bob", "zoe"]),
        ("nobody @ all", []),
        ("@bob, @bob's @bob/zed @@bob (@bob)@Carol", ["bob", "Carol"]),
        ("mail a+b@example.com", []),
        ("@zoe+1@example.com!", ["zoe+1@example.com!", "zoe+1@example.com", "zoe"]),
        ("@dGVzdB==.", ["dGVzdB==.", "dgvzdb==.", "dGVzdB==", "dgvzdb==", "dGVzdB", "dgvzdb"]),
        ("@os:x", ["os"]),
        ("@CASE @Case", ["CASE", "case"]),
    ],
)
def test_ids_after_an_at_are_mentioned_in_any_case(
    page: PageModules, text: str, mentioned: list[str]
) -> None:
    assert mentions(page, text) == mentioned


@pytest.mark.parametrize("user", SUBJECTS)
@pytest.mark.parametrize("text", ["@%s", "@%s!", "Hello (@%s), how are you?", "@%s @bob"])
def test_every_subject_can_be_mentioned(page: PageModules, text: str, user: str) -> None:
    assert mentions(page, text.replace("%s", user))[0] == user


@given(st.text(alphabet='@ab.|-+/=:%*"\u017f\u212aé 1', max_size=40))
def test_every_id_that_is_sent_is_valid_and_in_the_text(page: PageModules, text: str) -> None:
    for user in mentions(page, text):
        assert re.search(USER_ID, user)
        assert f"@{user}".lower() in text.lower()


def test_names_that_mention_no_user_are_reported(page: PageModules) -> None:
    text = "@bob @Zoe @zed."
    assert page.call("mentions.js", "namesWithoutMention", text, list(MEMBERS), ["bob", "zoe"]) == ["zed."]


def test_no_more_users_are_mentioned_than_the_server_accepts(page: PageModules) -> None:
    text = " ".join(f"@user{number}" for number in range(200)) + " @bob"
    assert len(mentions(page, text)) == 100
    assert mentions(page, text)[0] == "bob"


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (["hello"], "Bob: hello"),
        ([None], ""),
        ([None, "hello", None, "you"], "Bob: hello\nBob: you"),
        (["x"] * 4, "4 new messages."),
        (["x"] * 3 + [None] * 500, "Bob: x\nBob: x\nBob: x"),
        (["x" * 9000], "Bob: " + "x" * 300),
    ],
)
def test_announcements_are_bounded_and_leave_out_what_was_deleted(
    page: PageModules, contents: list[str | None], said: str
) -> None:
    messages = [{"author": "Bob", "content": content} for content in contents]
    assert page.call("announcements.js", "announcement", messages) == said


def test_no_module_needs_lookbehind() -> None:
    """Safari has it since 16.4 only; one such pattern keeps a module, and so the page, from starting."""
    modules = [*STATIC.glob("*.js")]
    assert modules
    for module in modules:
        text = module.read_text()
        assert "(?<=" not in text, module
        assert "(?<!" not in text, module
