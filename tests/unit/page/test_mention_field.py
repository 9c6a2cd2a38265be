"""After which text the message field offers members."""

import pytest

from tests.support.page.page_modules import PageModules

pytestmark = pytest.mark.needs("node")


@pytest.mark.parametrize(
    ("text", "begun"),
    [
        ("@qu", "qu"),
        ("Hi @qu", "qu"),
        ("Hi (@Zoë", "Zoë"),
        ("Hi\n@a+b", "a+b"),
        ("Hi @", ""),
        ("Hi @quinn ", ""),
        ("quinn@example", ""),
        ("@quinn @", ""),
        ("Hi", ""),
        ("@" + "x" * 65, ""),
    ],
)
def test_a_name_begins_after_an_at_sign_that_follows_no_word(
    page: PageModules, text: str, begun: str
) -> None:
    assert page.call("mentionfield.js", "begunName", text) == begun
