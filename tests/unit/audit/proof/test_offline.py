"""onrecord-verify: agrees with the published vectors and with the service, and lets nothing pass that was changed."""

import json
import random
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from service.audit.export import export as exporting
from service.audit.export import html_pages
from service.audit.export.export import CannotExport
from service.audit.export.scope import Everything, OnePerson, OneRoom
from service.audit.proof import leaf, merkle, offline, signing_keys
from service.audit.proof.proof_record import redacted
from service.audit.proof.prove import prove
from service.audit.proof.signed_note import SigningKey
from service.audit.proof.verify import Tampered
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer
from tests.support.audit.exports import CHANGES, SCOPES, checked, contents, exported
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, message, node, stored
from tests.support.eventstore.sealed_logs import append, attacker, fill, first_bad, owner, seal
from tests.support.servers.databases import Database

VECTORS = [  # RFC 8032, section 7.1: tests 1, 2, 3 and SHA(abc), as public key, message, signature
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
            "24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302a"
            "eeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed2"
            "8dc027beceea1ec40a"
        ),
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce8"
            "0e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac1"
            "7ad9bef1177331a704"
        ),
    ),
]


# Its own arithmetic


@pytest.mark.parametrize(("public", "text", "signature"), VECTORS)
def test_rfc_8032_signatures_verify_and_no_bit_can_be_changed(public: str, text: str, signature: str) -> None:
    key, said, signed = (bytes.fromhex(each) for each in (public, text, signature))
    assert offline.ed25519(key, said, signed)
    assert not offline.ed25519(key, said + b"!", signed)
    for bit in range(0, 512, 5):
        changed = bytearray(signed)
        changed[bit // 8] ^= 1 << bit % 8
        assert not offline.ed25519(key, said, bytes(changed))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_signatures_of_the_library_are_good(secret: bytes, text: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret)
    public, signature = key.public_key().public_bytes_raw(), key.sign(text)
    assert offline.ed25519(public, text, signature)
    # The same signature with another multiple of the order is another signature, and refused (section 5.1.7).
    larger = int.from_bytes(signature[32:], "little") + offline.ORDER
    assert not offline.ed25519(public, text, signature[:32] + larger.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "public", [b"", bytes(31), b"\xff" * 32, bytes([2]) + bytes(31), bytes([1]) + bytes(30) + b"\x80"]
)
def test_what_is_no_key_signs_nothing(public: bytes) -> None:
    assert not offline.ed25519(public, b"", bytes(64))


@given(
    st.builds(
        leaf.Leaf,
        position=st.integers(0, 2**63 - 1),
        stream=st.text(),
        seq=st.integers(0, 2**63 - 1),
        topic=st.text(),
        subject=st.text(),
        at=st.integers(0, 4_000_000_000_000_000),
        by=st.text(),
        state=st.binary(min_size=32, max_size=32),
    )
)
def test_it_hashes_leaves_as_the_service_does(one: leaf.Leaf) -> None:
    assert offline.leaf_of(redacted(one, 0, None), one.state) == merkle.leaf_hash(leaf.encode(one))


# Proofs


async def proof_of(database: Database, seq: int, *, reveal: bool, room: str = "general") -> Any:
    serializer = EventSerializer(KeyRing(KEY_ENCRYPTION_KEY))
    async with owner(database) as connection:
        keys = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
        return await prove(connection, keys, serializer, room, seq, reveal=reveal)


def written(place: Path, value: object) -> Path:
    file = place / "proof.json"
    file.write_text(json.dumps(value))
    return file


@pytest.mark.parametrize("seq", [1, 2, 4, 256, 257, 303])
@pytest.mark.parametrize("reveal", [False, True])
async def test_a_proof_is_good_wherever_it_is_checked(
    sealed: Database,
    tmp_path: Path,
    seq: int,
    reveal: bool,  # noqa: FBT001 - a table
) -> None:
    proof = await proof_of(sealed, seq, reveal=reveal)
    code, out, words = checked(written(tmp_path, proof))
    assert (code, out) == (0, "ok 1 event\n"), words
    assert "a key from the same files" in words
    code, _, words = checked(written(tmp_path, proof), "--key", proof["keys"][0]["vkey"])
    assert code == 0
    assert "a key from the same files" not in words


async def test_a_proof_tells_nothing_of_what_was_said_unless_asked(sealed: Database) -> None:
    proof = await proof_of(sealed, 5, reveal=False)
    assert "fields" not in proof["event"]
    assert "state" not in proof["event"]
    assert "no. 1" not in json.dumps(proof)
    proof = await proof_of(sealed, 5, reveal=True)
    assert proof["event"]["fields"]["content"] == "no. 1"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            "UPDATE stored_events SET recorded_by = 'mallory' WHERE originator_version = 50",
            "or its seal, was changed",
        ),
        (
            "UPDATE stored_events SET originator_version = 500 WHERE originator_version = 50",
            "or its seal, was changed",
        ),
        (
            "UPDATE seals SET hashes = overlay(hashes PLACING '\\xffff' FROM 32 * 9 + 1) WHERE first = 40",
            "or its seal",
        ),
        ("UPDATE seals SET hashes = overlay(hashes PLACING '\\xffff' FROM 1) WHERE first = 80", "was signed"),
    ],
)
async def test_an_event_that_differs_from_its_seal_has_no_proof(
    sealed: Database, change: str, problem: str
) -> None:
    async with attacker(sealed) as evil:
        await evil.execute(change)
    with pytest.raises(Tampered, match=problem):
        await proof_of(sealed, 500 if "= 500" in change else 50, reveal=False)


async def test_another_key_than_the_one_kept_is_not_believed(sealed: Database, tmp_path: Path) -> None:
    other = str(SigningKey("onrecord/other", bytes(32)).verifier)
    code, out, _ = checked(written(tmp_path, await proof_of(sealed, 5, reveal=True)), "--key", other)
    assert code == 1
    assert "not signed by a trusted key" in out


async def test_a_new_key_is_believed_by_whoever_kept_an_old_one(database: Database, tmp_path: Path) -> None:
    await fill(database)
    await seal(database)
    for _ in range(2):
        async with owner(database) as connection:
            await signing_keys.rotate(connection, KEY_ENCRYPTION_KEY)
        await append(database, "more")
        await seal(database)
    proof = await proof_of(database, 5, reveal=True)
    first, second, third = (key["vkey"] for key in proof["keys"])
    file = tmp_path / "kept"
    file.write_text(f"{first}\n")
    assert checked(written(tmp_path, proof), "--key", str(file))[0] == 0
    assert checked(written(tmp_path, proof), "--key", second)[0] == 0
    proof["keys"][1]["endorsement"] = proof["keys"][2]["endorsement"]
    assert checked(written(tmp_path, proof), "--key", first)[0] == 1
    assert checked(written(tmp_path, proof), "--key", third)[0] == 0


def leaves_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to all plain values in a JSON value."""
    if isinstance(value, dict):
        return [found for name, each in value.items() for found in leaves_of(each, (*path, name))]
    if isinstance(value, list):
        return [found for place, each in enumerate(value) for found in leaves_of(each, (*path, place))]
    return [path]


@pytest.mark.parametrize("reveal", [False, True])
async def test_no_value_in_a_proof_can_be_changed(
    sealed: Database,
    tmp_path: Path,
    reveal: bool,  # noqa: FBT001 - a table
) -> None:
    proof = await proof_of(sealed, 5, reveal=reveal)
    proof_text, chance = json.dumps(proof), random.Random(5)
    said: list[str] = []
    for path in leaves_of(proof):
        if path[0] == "keys" and path[-1] == "endorsement":
            continue  # null: there was no key before the first
        changed = json.loads(proof_text)
        within = changed
        for step in path[:-1]:
            within = within[step]
        value = within[path[-1]]
        if isinstance(value, str):
            at = chance.randrange(len(value))
            within[path[-1]] = value[:at] + ("x" if value[at] != "x" else "y") + value[at + 1 :]
        else:
            within[path[-1]] = value + 1 if isinstance(value, int) else "x"
        try:
            offline.check_file_of_proof(
                written(tmp_path, changed), [proof["keys"][0]["vkey"]], None, said.append
            )
        except (offline.Bad, ValueError, KeyError, TypeError):
            continue
        raise AssertionError(path)


@pytest.mark.parametrize("kind", [True, 3.0, "3", None, [3]])
async def test_a_number_is_a_number(sealed: Database, tmp_path: Path, kind: Any) -> None:
    proof = await proof_of(sealed, 3, reveal=False)
    for name in ("seq", "index", "position", "stream"):
        changed = {**proof, "event": {**proof["event"], name: kind}}
        assert checked(written(tmp_path, changed))[0] == 1


async def test_after_an_erasure_the_event_is_proved_and_its_words_are_gone(
    sealed: Database, tmp_path: Path
) -> None:
    before = await proof_of(sealed, 5, reveal=True)
    await stored(sealed, "DELETE FROM person_keys WHERE person = 'alice'")
    after = await proof_of(sealed, 5, reveal=True)
    assert after["event"]["fields"]["content"] is None
    assert after["event"]["words"] == {}
    assert after["event"]["state"] == before["event"]["state"]
    for proof in (before, after):
        assert checked(written(tmp_path, proof))[0] == 0
    assert await first_bad(sealed) is None


# Exports


@pytest.mark.parametrize("kind", SCOPES)
async def test_an_export_is_good_wherever_it_is_checked(sealed: Database, tmp_path: Path, kind: str) -> None:
    scope, count = SCOPES[kind]
    assert await exported(sealed, tmp_path / "out", scope) == count
    shutil.copy(offline.__file__, tmp_path / "alone.py")
    code, out, words = checked(tmp_path / "out", program=tmp_path / "alone.py")
    assert (code, out) == (0, f"ok {count} events\n"), words
    events = [json.loads(line) for line in (tmp_path / "out" / "events.ndjson").read_text().splitlines()]
    assert len(events) == count
    if kind != "person":
        assert "no. 7" in [event["fields"].get("content") for event in events]


async def test_a_persons_export_has_what_they_did_and_what_is_about_them(
    sealed: Database, tmp_path: Path
) -> None:
    await exported(sealed, tmp_path, OnePerson("bob"))
    events = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    assert [(event["topic"].split(".")[1], event["by"]) for event in events] == [
        ("MemberJoined", "alice"),
        ("PersonNamed", "bob"),
        ("SessionOpened", "bob"),
        ("SessionClosed", "bob"),
        ("MemberBanned", "alice"),
    ]


@pytest.mark.parametrize("kind", SCOPES)
async def test_no_byte_of_an_export_can_be_changed(
    sealed: Database, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exported(sealed, tmp_path, SCOPES[kind][0])
    # Most changes leave both signatures as they are; the same signature is not computed again.
    monkeypatch.setattr(offline, "ed25519", cache(offline.ed25519))
    chance = random.Random(kind)
    said: list[str] = []
    for name, content in sorted(contents(tmp_path).items()):
        file = tmp_path / name
        places = (
            range(len(content)) if len(content) < 300 else [chance.randrange(len(content)) for _ in range(60)]
        )
        for at in places:
            changed = content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
            file.write_bytes(changed)
            with pytest.raises((offline.Bad, ValueError, KeyError, TypeError, AttributeError)):
                offline.check_export(tmp_path, [], said.append)
        file.write_bytes(content[:-1])
        with pytest.raises((offline.Bad, ValueError)):
            offline.check_export(tmp_path, [], said.append)
        file.write_bytes(content)
        file.rename(tmp_path.parent / "away")
        with pytest.raises((offline.Bad, OSError)):
            offline.check_export(tmp_path, [], said.append)
        (tmp_path.parent / "away").rename(file)
    assert offline.check_export(tmp_path, [], said.append)
    (tmp_path / "more.html").touch()
    with pytest.raises(offline.Bad, match="other files"):
        offline.check_export(tmp_path, [], said.append)


@pytest.mark.parametrize("kind", ["room", "all"])
@pytest.mark.parametrize("change", CHANGES)
async def test_even_who_can_sign_a_manifest_cannot_change_what_was_sealed(
    sealed: Database, tmp_path: Path, kind: str, change: str
) -> None:
    """As if a dishonest exporter had changed the events first and signed the manifest over them afterwards."""
    await exported(sealed, tmp_path, SCOPES[kind][0])
    file = tmp_path / "events.ndjson"
    events = CHANGES[change]([json.loads(line) for line in file.read_text().splitlines()])
    file.write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events))
    async with owner(sealed) as connection:
        (key,) = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "unfinished.json").touch()
    exporting._finish(
        tmp_path, key, exporting._manifest(tmp_path, SCOPES[kind][0], len(events), list(manifest["files"]))
    )
    with pytest.raises(offline.Bad):
        offline.check_export(tmp_path, [], list[str]().append)


async def test_a_whole_export_without_its_end_is_not_whole(sealed: Database, tmp_path: Path) -> None:
    await exported(sealed, tmp_path, Everything())
    file = tmp_path / "events.ndjson"
    lines = file.read_text().splitlines(keepends=True)
    keys = json.loads((tmp_path / "keys.json").read_text())
    tree = offline.Tree((tmp_path / "checkpoint.txt").read_text(), [keys[0]["vkey"]])
    assert offline.check_events(file, {"kind": "all"}, tree) == len(lines)
    file.write_text("".join(lines[:-1]))
    with pytest.raises(offline.Bad, match=r"not those that were signed|events are missing"):
        offline.check_events(file, {"kind": "all"}, tree)


@pytest.mark.parametrize("kind", SCOPES)
async def test_an_export_that_was_broken_off_goes_on_to_the_same_bytes(
    sealed: Database, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PAGE", 2 if kind == "person" else 50)
    scope = SCOPES[kind][0]
    await exported(sealed, tmp_path / "whole", scope)

    class PowerCut(Exception):
        pass

    def cut(count: int, _position: int, _last: int) -> None:
        if count >= 4:
            raise PowerCut

    with pytest.raises(PowerCut):
        await exported(sealed, tmp_path / "broken", scope, cut)
    with (tmp_path / "broken" / "events.ndjson").open("ab") as file:
        file.write(b'{"index":')
    await append(sealed, "meanwhile")
    await seal(sealed)
    with pytest.raises(CannotExport, match="unfinished export of another scope"):
        await exported(sealed, tmp_path / "broken", OneRoom("other"))
    await exported(sealed, tmp_path / "broken", scope)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert checked(tmp_path / "broken")[0] == 0


async def test_an_export_is_not_written_over_anything(sealed: Database, tmp_path: Path) -> None:
    await exported(sealed, tmp_path / "out", OneRoom("general"))
    with pytest.raises(CannotExport, match="is a complete export already"):
        await exported(sealed, tmp_path / "out", OneRoom("general"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    with pytest.raises(CannotExport, match="is not empty"):
        await exported(sealed, tmp_path / "notes", OneRoom("general"))
    with pytest.raises(CannotExport, match="nothing on the record"):
        await exported(sealed, tmp_path / "nothing", OneRoom("nowhere"))


async def test_what_people_wrote_is_text_in_the_pages_and_nothing_else(
    database: Database, tmp_path: Path
) -> None:
    evil = "<script>alert(1)</script><img src=x onerror='alert(2)'>&amp;\u202e"
    async with node(database) as one:
        await one.open_room("alice")
        await one.append(message(evil), decided_on=2)
        await one.append(message("gone", author="bob"), by="bob", decided_on=3)
    await seal(database)
    await stored(database, "DELETE FROM person_keys WHERE person = 'bob'")
    await exported(database, tmp_path, OneRoom("general"))
    page = (tmp_path / "page-000001.html").read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "(erased)" in page
    assert "default-src 'none'" in page
    assert 'href="page-000001.html"' in (tmp_path / "index.html").read_text()
    assert checked(tmp_path)[0] == 0


async def test_pages_are_cut_so_that_each_can_be_opened(
    sealed: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_pages, "PAGE", 100)
    await exported(sealed, tmp_path, OneRoom("general"))
    counts = [(tmp_path / f"page-00000{n}.html").read_text().count("<tr><td>") for n in (1, 2, 3, 4)]
    assert counts == [100, 100, 100, 5]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"format":"onrecord-proof/1"}', b"\xff", b'{"a":1,"a":1}']
)
def test_what_is_no_proof_is_bad_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "proof").write_bytes(content)
    code, out, words = checked(tmp_path / "proof")
    assert code == 1
    assert out.startswith("bad: ")
    assert "Traceback" not in words


def test_what_is_named_by_mistake_is_not_called_bad(tmp_path: Path) -> None:
    nowhere, text, proof = tmp_path / "nowhere", tmp_path / "README.md", tmp_path / "proof"
    text.write_text("# A text\n")
    proof.write_text("{}")
    (tmp_path / "empty").touch()
    no_key = "`--key {}` is neither a key nor a file with one.\n"
    cases: list[tuple[Path, list[str], str]] = [
        (nowhere, [], f"There is no file {nowhere}.\n"),
        (tmp_path, [], f"{tmp_path} is no export and no proof.\n"),
        (text, [], f"{text} is no export and no proof.\n"),
        (proof, ["--since", str(nowhere)], f"There is no file {nowhere}.\n"),
        (proof, ["--since", str(text)], f"{text} is no checkpoint.\n"),
    ]
    no_keys = ("", "nokey", "a+b+c", str(text), str(tmp_path), str(tmp_path / "empty"))
    cases += [(proof, ["--key", key], no_key.format(key)) for key in no_keys]
    for path, arguments, words in cases:
        assert checked(path, *arguments) == (2, "", words), arguments


def test_it_is_installed_as_a_command() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "onrecord-verify", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "offline" in done.stdout
