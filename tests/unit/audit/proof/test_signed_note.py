"""Signed notes and checkpoints: the published examples, and nothing else passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.audit.proof.checkpoint import Checkpoint
from service.audit.proof.signed_note import NoteInvalid, SigningKey, VerifierKey, open_note

# The example of C2SP signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
KEY = SigningKey("onrecord/test", bytes(range(32)))
TEXT = str(Checkpoint("onrecord/test", 12, bytes(range(32)), 40))
SIGNED = KEY.sign(TEXT)


def test_the_published_note_opens_under_its_published_key() -> None:
    assert open_note(NOTE, [VerifierKey.parse(VKEY)]) == "This is an example message.\n"


def test_a_vkey_is_written_as_it_was_read() -> None:
    assert str(VerifierKey.parse(VKEY)) == VKEY


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "example.com/foo",
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("foo", "bar"),
        VKEY.replace("AekyeRrm", "AukyeRrm"),
        VKEY[:-4],
        "a b" + VKEY.removeprefix("example.com/foo"),
    ],
)
def test_what_is_no_vkey_is_refused(vkey: str) -> None:
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(vkey)


def test_signatures_of_unknown_keys_are_passed_over() -> None:
    other = SigningKey("onrecord/other", bytes(32))
    both = SIGNED + other.sign(TEXT).rpartition("\n\n")[2]
    assert open_note(both, [KEY.verifier]) == TEXT
    assert open_note(both, [other.verifier]) == TEXT
    with pytest.raises(NoteInvalid, match="no known key"):
        open_note(both, [VerifierKey.parse(VKEY)])


def test_false_signature_of_a_known_key_rejects_the_note() -> None:
    other = SigningKey("onrecord/other", bytes(32))
    forged = SIGNED + other.sign(TEXT + "more\n").rpartition("\n\n")[2]
    with pytest.raises(NoteInvalid, match="is invalid"):
        open_note(forged, [KEY.verifier, other.verifier])


@given(st.integers(0, len(SIGNED) - 1), st.characters(exclude_categories=["Cs"]))
def test_no_letter_of_a_note_can_be_changed(at: int, letter: str) -> None:
    changed = SIGNED[:at] + letter + SIGNED[at + 1 :]
    if changed != SIGNED:
        with pytest.raises(NoteInvalid):
            open_note(changed, [KEY.verifier])


@given(st.integers(0, len(SIGNED) - 1))
def test_no_note_is_cut(at: int) -> None:
    with pytest.raises(NoteInvalid):
        open_note(SIGNED[:at], [KEY.verifier])


@given(st.text())
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        open_note(text, [KEY.verifier])


def test_a_note_without_end_is_refused() -> None:
    with pytest.raises(NoteInvalid):
        open_note(KEY.sign("x" * 20_000 + "\n"), [KEY.verifier])


@given(st.integers(0, 2**62), st.binary(min_size=32, max_size=32), st.integers(1, 2**62))
def test_a_checkpoint_is_read_as_it_was_written(size: int, root: bytes, position: int) -> None:
    checkpoint = Checkpoint("onrecord/x", size, root, position)
    assert Checkpoint.parse(str(checkpoint)) == checkpoint


def test_a_checkpoint_is_written_like_this() -> None:
    assert TEXT == "onrecord/test\n12\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nposition 40\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT.replace("12", "012"),
        TEXT.replace("12", "-1"),
        TEXT.replace("8=", "9="),  # the same bytes in other letters
        TEXT.replace("position 40\n", ""),
        TEXT + "more\n",
        TEXT.replace("position 40", "position 0"),
        TEXT.removesuffix("\n"),
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text)
