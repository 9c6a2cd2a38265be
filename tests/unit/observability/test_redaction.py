"""Secrets are redacted where they are known to be, and nothing else changes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.observability.redaction import _PLACES, BLACK, redacted, redacted_text
from tests.support.environment import token

JWT = token("alice")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("postgresql://user:secret@host:5432/db", f"postgresql://{BLACK}@host:5432/db"),
        ("redis://:se/cr@et@host/0, again", f"redis://{BLACK}@host/0, again"),
        ("https://key@sentry.example/1", f"https://{BLACK}@sentry.example/1"),
        (
            "http://host/signin/callback?code=abc&state=def",
            f"http://host/signin/callback?code={BLACK}&state={BLACK}",
        ),
        ("wss://host/ws?access_token=abc#x", f"wss://host/ws?access_token={BLACK}#x"),
        ("authorization: Basic dXNlcjpwYXNz", f"authorization: {BLACK}"),
        ("{'Cookie': 'a=b; c=d'}", f"{{'Cookie': {BLACK}"),
        ("got Bearer abc.def-g~h/i+j==", f"got Bearer {BLACK}"),
        ("host=here password='two words' user=me", f"host=here password={BLACK} user=me"),
        ("PGPASSWORD=abc psql", f"PGPASSWORD={BLACK} psql"),
        ('{"client_secret": "abc", "other": 1}', f'{{"client_secret": {BLACK}, "other": 1}}'),
        (f"the token {JWT} is bad", f"the token {BLACK} is bad"),
        (f"{JWT.rpartition('.')[0]}.", BLACK),
    ],
)
def test_secrets_are_redacted_by_their_place(text: str, safe: str) -> None:
    assert redacted_text(text) == safe
    assert redacted("problem", [text]) == [safe]
    assert redacted("problem", {"at": text}) == {"at": safe}


@pytest.mark.parametrize(
    "text",
    [
        "The token is not valid: none was given.",
        'password authentication failed for user "app"',
        "token_invalid",
        "alice@example.com",
        "http://127.0.0.1:8000/api/rooms?after=general",
        "ONRECORD_JWT_SECRET is not set",
        "ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', 5432)",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "4f1c8a52-0d6b-4c3e-9a27-5f0e1b7d2c90",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redacted_text(text) == text
    assert redacted("problem", text) == text


@pytest.mark.parametrize(
    "name", ["password", "db_password", "token", "refresh_token", "Authorization", "set-cookie"]
)
def test_a_field_that_is_named_for_a_secret_has_no_value(name: str) -> None:
    assert redacted(name, "anything") == BLACK


@pytest.mark.parametrize("name", ["key", "tokens_read", "user", "secretary"])
@given(st.none() | st.booleans() | st.integers() | st.text("abcdefgh -.", max_size=50))
def test_other_fields_keep_their_value(name: str, value: Any) -> None:
    assert redacted(name, value) == value


@given(
    st.text(
        st.characters(blacklist_categories=("Z", "C", "Cs"), blacklist_characters="@\"'"),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from(["postgresql", "redis", "https"]),
)
def test_no_password_of_a_url_is_left_however_it_is_written(password: str, scheme: str) -> None:
    assert redacted_text(f"at {scheme}://user:{password}@host/db now") == f"at {scheme}://{BLACK}@host/db now"


@given(
    st.lists(
        st.sampled_from(
            ["eyJhbGciOi", ".abc", "bearer", " ", "x", "token", "=", ":", "//", "@", "-", "\n", "é", "cookie"]
        )
    ).map("".join)
)
def test_a_text_that_can_hold_no_secret_is_recognized(text: str) -> None:
    expected = text
    for place, safe in _PLACES:
        expected = place.sub(safe, expected)
    assert redacted_text(text) == expected
