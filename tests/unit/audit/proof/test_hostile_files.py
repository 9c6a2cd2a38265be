"""onrecord-verify against files that were made to hurt it: one sentence, no file outside, no endless work."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.audit.export import export as exporting
from service.audit.export.scope import OneRoom
from service.audit.proof import leaf, signing_keys
from service.audit.proof.signed_note import SigningKey
from tests.support.audit.exports import CHANGES, SCOPES, checked, exported
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY
from tests.support.eventstore.sealed_logs import append, attacker, owner, seal
from tests.support.servers.databases import Database

GENERAL = OneRoom("general")


def is_bad(path: Path, words: str = "") -> None:
    code, out, err = checked(path)
    assert code == 1, out
    assert out.startswith("bad: ")
    assert words in out
    assert "Traceback" not in err
    assert all(letter.isprintable() or letter == "\n" for letter in out + err), (
        "no terminal is told to do anything"
    )


PROOF = b'{"format":"onrecord-proof/1","event":{},"checkpoint":"x","keys":'
HOSTILE_PROOFS = {
    "a deep list": b"[" * 1_000_000,
    "a deep object": b'{"format":' + b'{"a":' * 100_000,
    "a long number": b'{"format":' + b"9" * 10_000 + b"}",
    "half a letter": PROOF + rb'[{"vkey":"\ud800","endorsement":null}]}',
    "an escape": PROOF + rb'[{"vkey":"a+b+\u001b[2Jok","endorsement":null}]}',
    "keys of another form": PROOF + b"{}}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a large one": PROOF + b" " * (1 << 24) + b"[]}",
}


@pytest.mark.parametrize("kind", HOSTILE_PROOFS)
def test_a_hostile_proof_is_bad_in_one_sentence(tmp_path: Path, kind: str) -> None:
    (tmp_path / "proof").write_bytes(HOSTILE_PROOFS[kind])
    is_bad(tmp_path / "proof")


def names(place: Path, name: str) -> None:
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": 0, "sha256": ""}
    (place / "manifest.json").write_text(json.dumps(manifest))


def linked(place: Path, name: str, to: str) -> None:
    (place / name).unlink()
    (place / name).symlink_to(to)


def sized(place: Path, name: str) -> None:
    with (place / name).open("ab") as file:
        file.truncate(1 << 40)  # a hole, which costs no room on the disk


def pipe(place: Path) -> None:
    (place / "keys.json").unlink()
    os.mkfifo(place / "keys.json")


def directory(place: Path) -> None:
    (place / "keys.json").unlink()
    (place / "keys.json").mkdir()


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a path out of it": (lambda place: names(place, "../../etc/passwd"), "the manifest was changed"),
    "an absolute path": (lambda place: names(place, "/etc/passwd"), "the manifest was changed"),
    "events that never end": (
        lambda place: linked(place, "events.ndjson", "/dev/zero"),
        "is not a regular file",
    ),
    "a page that never ends": (
        lambda place: linked(place, "index.html", "/dev/zero"),
        "is not a regular file",
    ),
    "a manifest elsewhere": (
        lambda place: linked(place, "manifest.json", "/etc/passwd"),
        "is not a regular file",
    ),
    "a pipe": (pipe, "is not a regular file"),
    "a directory": (directory, "is not a regular file"),
    "a huge manifest": (lambda place: sized(place, "manifest.json"), "too large"),
    "a huge checkpoint": (lambda place: sized(place, "checkpoint.txt"), "too large"),
    "an endless line": (lambda place: sized(place, "events.ndjson"), "too long"),
    "a name that clears the screen": (lambda place: (place / "\x1b[2Jok 1 event").touch(), "other files"),
    "a name twice": (
        lambda place: (place / "keys.json").write_text('[{"vkey":"a","vkey":"b","endorsement":null}]'),
        "an object has the same name twice",
    ),
    "not UTF-8": (lambda place: (place / "checkpoint.txt").write_bytes(b"\xff\xfe"), "malformed"),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_export_is_bad_in_one_sentence(sealed: Database, tmp_path: Path, kind: str) -> None:
    await exported(sealed, tmp_path / "out", GENERAL)
    make, words = HOSTILE[kind]
    make(tmp_path / "out")
    is_bad(tmp_path / "out", words)


async def test_a_signed_manifest_leads_to_no_file_outside(sealed: Database, tmp_path: Path) -> None:
    """As if the holder of the signing key named files of the verifier's machine."""
    out = tmp_path / "out"
    await exported(sealed, out, GENERAL)
    (tmp_path / "outside").write_text("secret")
    named = [*json.loads((out / "manifest.json").read_text())["files"], "../outside"]
    (out / "manifest.json").unlink()
    (out / "unfinished.json").touch()
    async with owner(sealed) as connection:
        (key,) = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
    exporting._finish(out, key, exporting._manifest(out, GENERAL, 305, named))
    is_bad(out, "other files than the manifest")


WRONG_FROM = {"words": 9, "fields": 9, "state": 9, "moved": 5, "missing": 5, "twice": 6, "hidden": 0}
"""The line, from 0 on, at which each of `CHANGES` begins."""


def rewritten(place: Path, change: str, numbered: str) -> list[dict[str, Any]]:
    """Change the events of an export; `numbered` is a field that then counts up again, as if nothing was missing."""
    file = place / "events.ndjson"
    events = CHANGES[change]([json.loads(line) for line in file.read_text().splitlines()])
    if numbered:
        events = [{**event, numbered: at + (numbered == "seq")} for at, event in enumerate(events)]
    file.write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events))
    return events


@pytest.mark.parametrize("change", WRONG_FROM)
@pytest.mark.parametrize(("kind", "numbered"), [("room", ""), ("room", "seq"), ("all", ""), ("all", "index")])
async def test_what_was_changed_in_an_export_is_named_by_its_first_position(
    sealed: Database, tmp_path: Path, kind: str, numbered: str, change: str
) -> None:
    """By an attacker without the signing key: the manifest reveals that there was a change, the events reveal where."""
    await exported(sealed, tmp_path, SCOPES[kind][0])
    at, events = WRONG_FROM[change], rewritten(tmp_path, change, numbered)
    is_bad(tmp_path, f"line {at + 1} of events.ndjson, position {events[at]['position']}: ")


@pytest.mark.parametrize("kind", SCOPES)
@pytest.mark.parametrize("gone", [0, 2, 4])
async def test_a_line_that_is_gone_is_named_by_the_one_that_took_its_place(
    sealed: Database, tmp_path: Path, kind: str, gone: int
) -> None:
    """Of a person's export, too, whose numbers have gaps."""
    await exported(sealed, tmp_path, SCOPES[kind][0])
    file = tmp_path / "events.ndjson"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:gone] + lines[gone + 1 :]))
    last = gone + 1 == len(lines)
    is_bad(tmp_path, f"after line {gone} of" if last else f"line {gone + 1} of events.ndjson, position ")
    file.write_text("".join(lines[:-3]))
    is_bad(tmp_path, f"after line {len(lines) - 3} of events.ndjson 3 events are missing")


@pytest.mark.parametrize("line", [b"{}", b"[]", b"no JSON", b'{"position":"x"}', b"\xff", b"[" * 10_000])
async def test_a_line_that_is_no_event_is_named(sealed: Database, tmp_path: Path, line: bytes) -> None:
    await exported(sealed, tmp_path, SCOPES["all"][0])
    file = tmp_path / "events.ndjson"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:7], line + b"\n", *lines[8:]]))
    is_bad(tmp_path, "line 8 of events.ndjson")


async def test_changing_hashes_with_events_is_found_without_a_position(
    sealed: Database, tmp_path: Path
) -> None:
    await exported(sealed, tmp_path, SCOPES["all"][0])
    (tmp_path / "leaves.bin").write_bytes(bytes(32) + (tmp_path / "leaves.bin").read_bytes()[32:])
    is_bad(tmp_path, "leaves.bin was changed")


async def test_full_export_names_an_event_changed_in_the_log(sealed: Database, tmp_path: Path) -> None:
    async with attacker(sealed) as evil:
        position = await evil.fetchval(
            "UPDATE stored_events SET recorded_by = 'mallory' WHERE originator_version = 7 AND stream = 'room:general'"
            " RETURNING notification_id"
        )
    await exported(sealed, tmp_path, SCOPES["all"][0])
    is_bad(tmp_path, f"position {position}: ")


async def test_export_without_leaf_hashes_verifies_and_shows_changes(
    sealed: Database, tmp_path: Path
) -> None:
    await exported(sealed, tmp_path, SCOPES["all"][0])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for name in ("manifest.json", "leaves.bin"):
        (tmp_path / name).unlink()
    (tmp_path / "unfinished.json").touch()
    async with owner(sealed) as connection:
        (key,) = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
    exporting._finish(
        tmp_path,
        key,
        exporting._manifest(tmp_path, SCOPES["all"][0], 308, sorted({*manifest["files"]} - {"leaves.bin"})),
    )
    assert checked(tmp_path)[0] == 0
    rewritten(tmp_path, "hidden", "")
    is_bad(tmp_path, "these events are not those that were signed")


async def test_a_checkpoint_of_another_log_or_signer_is_bad(sealed: Database, tmp_path: Path) -> None:
    await exported(sealed, tmp_path, GENERAL)
    file, forger = tmp_path / "checkpoint.txt", SigningKey("onrecord/other", bytes(32))
    text = file.read_text().split("\n\n")[0] + "\n"
    for forged in (text, text.replace(text.split("\n")[0], "onrecord/other")):
        file.write_text(forger.sign(forged))
        is_bad(tmp_path, "the checkpoint is not signed by a trusted key")
    file.write_text(text)
    is_bad(tmp_path)


async def test_leaves_of_another_version_are_bad(
    sealed: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(leaf, "VERSION", 2)
        await append(sealed, "later")
        await seal(sealed)
    await exported(sealed, tmp_path, GENERAL)
    is_bad(tmp_path, "is not in the signed tree")


async def test_an_older_checkpoint_in_the_place_of_the_newest_is_bad(
    sealed: Database, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    await exported(sealed, old, GENERAL)
    await append(sealed, "later")
    await seal(sealed)
    await exported(sealed, new, GENERAL)
    shutil.copy(old / "checkpoint.txt", new / "checkpoint.txt")
    is_bad(new, "is not in the signed tree")
