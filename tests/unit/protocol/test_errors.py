"""The error codes are a contract: each has a class, a sentence, and an answer to "may I try again?"."""

import json

import pytest

from service.errors import OnRecordError, ProjectionBehind, Refusal, TooManyRequests, Trouble, every_error
from service.protocol.native import encode_error

CODES = {
    "malformed": False,
    "unknown_type": False,
    "ref_required": False,
    "ref_conflict": False,
    "not_connected": False,
    "room_not_found": False,
    "room_exists": False,
    "room_archived": False,
    "not_a_member": False,
    "not_allowed": False,
    "muted": False,
    "banned": False,
    "last_owner": False,
    "user_not_found": False,
    "report_not_found": False,
    "message_not_found": False,
    "message_deleted": False,
    "message_too_long": False,
    "empty_message": False,
    "unsafe_content": False,
    "too_many_requests": True,
    "too_many_rooms": False,
    "token_invalid": False,
    "token_expired": False,
    "token_not_yet_valid": True,
    "overloaded": True,
    "unavailable": True,
    "projection_behind": True,
}
"""Every code that this version answers with, and whether the same command may succeed later."""

DATA = {
    "problem": "Something is wrong.",
    "type": "message:sned",
    "ref": "r-1",
    "room": "general",
    "user": "bob",
    "message": 7,
    "report": "6fb4c1d2-9a3e-5b57-8c41-2d7f90e6a1b3",
    "length": 10_001,
    "limit": 10_000,
    "what": "a <script> element",
    "retryAfter": 1.5,
    "notBefore": "2026-11-29T14:00:00Z",
    "behind": 900,
}


def test_every_code_is_in_the_table() -> None:
    assert {code: error.retryable for code, error in every_error().items()} == CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_error_is_sent_as_code_sentence_and_whether_to_retry(code: str) -> None:
    error = every_error()[code](**DATA)
    answer = json.loads(encode_error("r-1", error))
    shown, _ = answer.pop("retryAfter", None), answer.pop("notBefore", None)
    assert answer == {
        "type": "error",
        "ref": "r-1",
        "code": code,
        "message": str(error),
        "retryable": CODES[code],
    }
    assert shown == (1.5 if code in ("too_many_requests", "token_not_yet_valid") else None)
    assert "{" not in str(error), "the sentence is complete"
    assert str(error).endswith(".")


def test_an_error_without_a_ref_has_none() -> None:
    assert "ref" not in json.loads(encode_error(None, TooManyRequests(retryAfter=1)))


@pytest.mark.parametrize("error", every_error().values())
def test_whose_fault_it_is_shows_in_the_type(error: type[OnRecordError]) -> None:
    assert issubclass(error, Trouble) != issubclass(error, Refusal)
    assert error.__doc__


def test_words_of_a_sender_are_not_taken_for_a_format() -> None:
    assert str(every_error()["unknown_type"](type="{ref}{0}")) == "There is no command of type {ref}{0}."
    assert str(ProjectionBehind(behind=3)).startswith("The read model is 3 positions behind")
