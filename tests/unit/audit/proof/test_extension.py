"""The proof that the record was only appended to since a checkpoint, for a verifier with only that checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.audit.export.scope import Everything, OneRoom
from service.audit.proof import offline, signing_keys, tree_store
from service.audit.proof.merkle import consistency
from service.audit.proof.prove import EXTENSION, extension, prove, public_keys
from service.audit.proof.signed_note import NoteInvalid, SigningKey
from service.audit.proof.tree_store import NotSealed
from service.audit.proof.verify import Tampered
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer
from tests.support.audit.exports import checked, exported
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY
from tests.support.eventstore.sealed_logs import append, attacker, checkpoint, fill, owner, seal
from tests.support.servers.databases import Database


async def proof_since(database: Database, older: str) -> dict[str, Any]:
    async with owner(database) as connection:
        keys = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
        return await extension(connection, keys, older)


def verified(place: Path, proof: dict[str, Any], since: str | None = None) -> int:
    (place / "proof").write_text(json.dumps(proof))
    if since is not None:
        (place / "since").write_text(since)
    vkey = proof["keys"][0]["vkey"]
    return offline.check_file_of_proof(
        place / "proof", [vkey], place / "since" if since is not None else None, list[str]().append
    )


async def test_each_older_checkpoint_is_shown_to_be_the_beginning(database: Database, tmp_path: Path) -> None:
    await fill(database, messages=300)
    await seal(database, at_once=41)
    async with owner(database) as connection:
        notes = [row[0] for row in await connection.fetch("SELECT checkpoint FROM seals ORDER BY size")]
    assert len(notes) == 8
    for older in notes:
        proof = await proof_since(database, older)
        assert proof["checkpoint"] == notes[-1]
        assert verified(tmp_path, proof, older) == 308
    assert checked(tmp_path / "proof")[:2] == (0, "ok 308 events\n")


async def test_no_part_of_it_can_be_changed(database: Database, tmp_path: Path) -> None:
    await fill(database, messages=100)
    await seal(database)
    old = await checkpoint(database)
    await append(database, "more", "and more")
    await seal(database)
    proof = await proof_since(database, old)
    assert verified(tmp_path, proof, old) == 110
    path = proof["path"]
    for changed in (
        {"path": path[:-1]},
        {"path": [*path, "00" * 32]},
        *({"path": [*path[:at], "00" * 32, *path[at + 1 :]]} for at in range(len(path))),
        {"older": proof["checkpoint"], "checkpoint": old},
        {"checkpoint": old},
        {"older": old.replace("position 108", "position 107")},
    ):
        with pytest.raises((offline.Bad, ValueError)):
            verified(tmp_path, {**proof, **changed})
    with pytest.raises(offline.Bad, match="is not the one that you kept"):
        verified(tmp_path, proof, proof["checkpoint"])


async def test_rewritten_record_has_no_consistency_proof_from_a_kept_checkpoint(
    database: Database, tmp_path: Path
) -> None:
    await fill(database)
    await seal(database)
    old = await checkpoint(database)
    async with attacker(database) as evil:
        await evil.execute("TRUNCATE seals, seal_nodes")
        await evil.execute("UPDATE stored_events SET recorded_by = 'mallory' WHERE originator_version = 7")
    with pytest.raises(NotSealed, match="ends after 0 events"):
        await proof_since(database, old)
    await seal(database)
    await append(database, "more")
    await seal(database)
    with pytest.raises(Tampered, match="differs from that of the checkpoint kept elsewhere"):
        await proof_since(database, old)
    async with owner(database) as connection:
        keys = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
        rewritten = await tree_store.newest(connection, keys)
        assert rewritten is not None
        spans = consistency(tree_store.read(old, keys).checkpoint.size, rewritten.checkpoint.size)
        path = [step.hex() for step in await tree_store.path(connection, spans)]
    forged = {"format": EXTENSION, "older": old, "checkpoint": rewritten.note, "path": path}
    with pytest.raises(offline.Bad, match="it was rewritten"):
        verified(tmp_path, {**forged, "keys": public_keys(keys)}, old)
    stranger = SigningKey("onrecord/other", bytes(32))
    with pytest.raises(NoteInvalid):
        await proof_since(database, stranger.sign(old.split("\n\n")[0] + "\n"))


async def notes_of(database: Database) -> list[str]:
    async with owner(database) as connection:
        return [row[0] for row in await connection.fetch("SELECT checkpoint FROM seals ORDER BY size")]


def kept(place: Path, note: str) -> str:
    (place / "kept").write_text(note)
    return str(place / "kept")


async def test_an_export_of_everything_shows_the_events_of_a_kept_checkpoint(
    sealed: Database, tmp_path: Path
) -> None:
    notes = await notes_of(sealed)
    await exported(sealed, tmp_path / "all", Everything())
    for note, size in ((notes[0], 40), (notes[-1], 308)):
        code, out, words = checked(tmp_path / "all", "--since", kept(tmp_path, note))
        assert (code, out) == (0, "ok 308 events\n"), words
        assert f"It begins with the {size} events of the checkpoint that you kept." in words
    await append(sealed, "more")
    await seal(sealed)
    later = kept(tmp_path, (await notes_of(sealed))[-1])
    code, out, _ = checked(tmp_path / "all", "--since", later)
    assert (code, "bad: the record ends after 308 events; the checkpoint that you kept has 309.\n") == (
        1,
        out,
    )
    stranger = SigningKey("onrecord/other", bytes(32))
    other = kept(tmp_path, stranger.sign(notes[0].split("\n\n")[0] + "\n"))
    code, out, _ = checked(tmp_path / "all", "--since", other)
    assert (code, out) == (1, "bad: the checkpoint that you kept is not signed by a trusted key.\n")


async def test_a_kept_checkpoint_shows_that_an_export_was_rewritten(
    database: Database, tmp_path: Path
) -> None:
    await fill(database)
    await seal(database)
    old = kept(tmp_path, await checkpoint(database))
    async with attacker(database) as evil:
        await evil.execute("TRUNCATE seals, seal_nodes")
        await evil.execute("UPDATE stored_events SET recorded_by = 'mallory' WHERE originator_version = 7")
    await append(database, "more")
    await seal(database)
    await exported(database, tmp_path / "all", Everything())
    assert checked(tmp_path / "all")[0] == 0, "the operator has the key"
    code, out, _ = checked(tmp_path / "all", "--since", old)
    problem = "are not those of the checkpoint that you kept: the record was rewritten"
    assert (code, out) == (1, f"bad: the first 28 events {problem}.\n")


async def test_a_checkpoint_is_refused_where_it_cannot_be_checked(sealed: Database, tmp_path: Path) -> None:
    since = ("--since", kept(tmp_path, (await notes_of(sealed))[0]))
    serializer = EventSerializer(KeyRing(KEY_ENCRYPTION_KEY))
    async with owner(sealed) as connection:
        keys = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
        proof = await prove(connection, keys, serializer, "general", 5, reveal=True)
    (tmp_path / "proof.json").write_text(json.dumps(proof))
    await exported(sealed, tmp_path / "room", OneRoom("general"))
    for path in (tmp_path / "room", tmp_path / "proof.json"):
        words = f"`--since` is for an extension or an export of everything; {path} is neither.\n"
        assert checked(path, *since) == (2, "", words)
        assert checked(path)[0] == 0
