"""The auditor's proof, by the commands of an operator on real processes."""

import json
from pathlib import Path

import pytest

from tests.support.audit.proof import all_sealed, offline, tamper
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.processes.processes import Process, run
from tests.support.servers.databases import Database


async def talk(node: Process, *texts: str) -> None:
    async with client(node.url, "alice", name="Alice") as alice:
        await alice.join("general")
        for text in texts:
            await alice.post("general", text)


@pytest.mark.usefixtures("projector")
async def test_a_checkpoint_kept_elsewhere_verifies_the_log_later(
    node: Process, database: Database, tmp_path: Path
) -> None:
    env = environment(database)
    await talk(node, "one", "two")
    await all_sealed(database)
    code, kept, _ = await run(env, "audit", "checkpoint")
    assert code == 0
    origin, size, _, position, _, signature, _ = kept.split("\n")
    assert origin.startswith("onrecord/")
    assert position.startswith("position ")
    assert signature.startswith(f"— {origin} ")
    file = tmp_path / "kept"
    file.write_text(kept)
    await talk(node, "three")
    later = await all_sealed(database)
    assert later > int(size)
    assert await run(env, "audit", "verify", "--against", str(file)) == (0, f"ok {later}\n", "")
    await tamper(database, "UPDATE stored_events SET recorded_by = 'mallory' WHERE originator_version = 3")
    code, out, words = await run(env, "audit", "verify")
    assert code == 1
    assert out.startswith("bad ")
    assert (
        ": event 3 of the room general, room.MessagePosted.v1: the event here, or its seal, was changed"
        in words
    )


async def test_the_tail_cut_off_from_log_and_seals_shows_against_the_checkpoint(
    node: Process, projector: Process, database: Database, tmp_path: Path
) -> None:
    env = environment(database)
    await talk(node, "one")
    first = await all_sealed(database)
    await talk(node, "two")
    await all_sealed(database)
    file = tmp_path / "kept"
    file.write_text((await run(env, "audit", "checkpoint"))[1])
    await projector.stop()
    await node.stop()
    await tamper(database, f"DELETE FROM seals WHERE size > {first}")
    await tamper(
        database,
        "DELETE FROM stored_events WHERE notification_id > (SELECT max(p) FROM seals, unnest(positions) p)",
    )
    assert await run(env, "audit", "verify") == (0, f"ok {first}\n", "")
    code, out, words = await run(env, "audit", "verify", "--against", str(file))
    assert code == 1
    assert out.startswith("bad ")
    assert "the record ends here" in words


@pytest.mark.usefixtures("projector")
async def test_silently_removed_key_is_found_by_content_verification(
    node: Process, database: Database
) -> None:
    """No seal covers the table of keys: what the record says of an erasure does."""
    env = environment(database)
    await talk(node, "one", "two")
    size = await all_sealed(database)
    code, out, words = await run(env, "audit", "verify", "--words")
    assert (code, out) == (0, f"ok {size}\n"), words
    assert "that of 0 is gone" in words
    await tamper(database, "UPDATE person_keys SET wrapped = NULL, destroyed_at = now()")
    assert await run(env, "audit", "verify") == (0, f"ok {size}\n", "")
    code, out, words = await run(env, "audit", "verify", "--words")
    assert (code, out[:4]) == (1, "bad ")
    assert words.endswith("the key of the content here is gone, and the record gives no reason.\n")


@pytest.mark.usefixtures("projector")
async def test_a_key_is_rotated_and_the_old_one_stays_known(
    node: Process, database: Database, tmp_path: Path
) -> None:
    env = environment(database)
    await talk(node, "one")
    await all_sealed(database)
    file = tmp_path / "kept"
    file.write_text((await run(env, "audit", "checkpoint"))[1])
    code, keys, _ = await run(env, "audit", "keys")
    assert (code, len(keys.splitlines())) == (0, 1)
    code, both, _ = await run(env, "audit", "keys", "--rotate")
    assert (code, len(both.splitlines())) == (0, 2)
    assert both.startswith(keys)
    await talk(node, "two")
    size = await all_sealed(database)
    assert await run(env, "audit", "verify", "--against", str(file)) == (0, f"ok {size}\n", "")


@pytest.mark.usefixtures("projector")
async def test_a_proof_and_an_export_are_checked_by_the_single_file_alone(
    node: Process, database: Database, tmp_path: Path
) -> None:
    env = environment(database)
    await talk(node, "one", "two")
    await all_sealed(database)
    code, proof, _ = await run(env, "audit", "prove", "--room", "general", "--seq", "3", "--reveal")
    assert code == 0
    assert json.loads(proof)["event"]["fields"]["content"] == "one"
    file = tmp_path / "proof.json"
    file.write_text(proof)
    assert await offline(str(file)) == (0, "ok 1 event\n")
    file.write_text(proof.replace('"one"', '"won"'))
    assert (await offline(str(file)))[0] == 1
    place = tmp_path / "export"
    code, said, _ = await run(env, "audit", "export", "--out", str(place), "--room", "general")
    assert (code, said) == (0, f"exported 4 events to {place}\n")
    assert await offline(str(place)) == (0, "ok 4 events\n")
    assert "two" in (place / "events.ndjson").read_text()
    (place / "events.ndjson").write_text((place / "events.ndjson").read_text().replace("two", "too"))
    code, said = await offline(str(place))
    assert code == 1
    assert said.startswith("bad")
    code, _, words = await run(env, "audit", "prove", "--room", "nowhere", "--seq", "1")
    assert code == 1
    assert "Traceback" not in words


@pytest.mark.usefixtures("projector")
async def test_a_rewritten_event_gets_no_proof_and_no_promise(
    node: Process, database: Database, tmp_path: Path
) -> None:
    env = environment(database)
    await talk(node, "one", "two")
    await all_sealed(database)
    kept = tmp_path / "kept"
    kept.write_text((await run(env, "audit", "checkpoint"))[1])
    room = "stream = 'room:general'"
    await tamper(
        database, f"UPDATE stored_events SET recorded_by = 'mallory' WHERE originator_version = 3 AND {room}"
    )
    for form in ("json", "text"):
        code, out, words = await run(env, "audit", "prove", "--room", "general", "--seq", "3", "--as", form)
        assert (code, out) == (1, "")
        assert "the event here, or its seal, was changed. Run `onrecord audit verify`." in words
    assert (await run(env, "audit", "prove", "--room", "general", "--seq", "4"))[0] == 0
    code, out, _ = await run(env, "audit", "extension", "--since", str(kept), "--as", "text")
    assert (code, "The stored events were not compared with it" in out) == (0, True)


@pytest.mark.usefixtures("projector")
async def test_a_removed_event_is_reported_by_each_command_that_passes_it(
    node: Process, database: Database, tmp_path: Path
) -> None:
    env = environment(database)
    await talk(node, "one", "two", "three")
    await all_sealed(database)
    await tamper(
        database, "DELETE FROM stored_events WHERE originator_version = 4 AND stream = 'room:general'"
    )
    missing = "Event 4 of general is missing; run `onrecord audit verify`.\n"
    for command, shown in (
        (("replay", "--room", "general"), '"three"'),
        (("replay", "--room", "general", "--from-seq", "4", "--as", "text"), '"three"'),
        (("room", "general"), '"three"'),
        (("room", "general", "--at", "4", "--as", "text"), "as of event 3"),
        (("room", "general", "--diff", "2"), '"three"'),
        (("export", "--room", "general", "--out", str(tmp_path / "case")), "exported 4 events"),
        (("prove", "--room", "general", "--seq", "4"), ""),
    ):
        code, out, words = await run(env, "audit", *command)
        assert (code, words, shown in out) == (1, missing, True), command
    whole: list[tuple[str, ...]] = [
        ("replay", "--room", "general", "--to-seq", "3"),
        ("room", "general", "--at", "3"),
    ]
    whole += [("replay", "--room", "general", "--from-seq", "5")]
    for rest in whole:
        assert (await run(env, "audit", *rest))[::2] == (0, ""), rest
    code, _, words = await run(env, "audit", "verify")
    assert (code, ": no event is stored there: the event here is missing" in words) == (1, True)


async def test_before_anything_is_sealed_the_commands_say_so(database: Database, tmp_path: Path) -> None:
    env = environment(database)
    for command in ("checkpoint", "keys"):
        code, out, words = await run(env, "audit", command)
        assert (code, out) == (1, "")
        assert "Nothing is sealed yet" in words
    assert await run(env, "audit", "verify") == (0, "ok 0\n", "")
    code, _, words = await run(env, "audit", "verify", "--against", str(tmp_path / "nowhere"))
    assert code == 2
    assert "cannot be read" in words
    other = tmp_path / "README.md"
    other.write_text("# A text\n")
    for command in ("verify --against", "extension --since"):
        code, out, words = await run(env, "audit", *command.split(), str(other))
        assert (code, out, words[: len(f"{other} is no checkpoint")]) == (2, "", f"{other} is no checkpoint")


async def test_words_that_were_changed_are_said_to_be_and_not_shown(
    node: Process, database: Database
) -> None:
    env = environment(database)
    await talk(node, "one", "two")
    other = environment(database, ONRECORD_KEY_ENCRYPTION_KEY="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    await tamper(
        database,
        """UPDATE stored_events SET state = (SELECT o.state FROM stored_events o WHERE o.originator_version = 3
           AND o.stream = 'room:general') WHERE originator_version = 4 AND stream = 'room:general'""",
    )
    code, out, words = await run(env, "audit", "replay", "--room", "general")
    assert (code, '"seq":4' in out) == (0, True), "whole in itself: only the seals tell"
    await tamper(database, "UPDATE person_keys SET wrapped = overlay(wrapped PLACING '\\x00ff' FROM 20)")
    for each in (env, other):
        code, out, words = await run(each, "audit", "replay", "--room", "general")
        assert (code, out) == (1, "")
        assert words.startswith("Content on the record cannot be decrypted: ")
        assert "Traceback" not in words


@pytest.mark.usefixtures("projector")
async def test_another_key_encryption_key_is_said_to_be_wrong(node: Process, database: Database) -> None:
    await talk(node, "one")
    await all_sealed(database)
    env = environment(database, ONRECORD_KEY_ENCRYPTION_KEY="QQ" * 21 + "Q=")
    for command in ("checkpoint", "keys", "verify"):
        code, _, words = await run(env, "audit", command)
        assert code == 1
        assert "ONRECORD_KEY_ENCRYPTION_KEY" in words
        assert "Traceback" not in words
