"""onrecord-verify: verifies an export or a proof of OnRecord offline, with this one file and Python 3.11.

    onrecord-verify EXPORT_DIRECTORY [--key VKEY]...
    onrecord-verify EXPORT_OF_EVERYTHING --since CHECKPOINT [--key VKEY]...
    onrecord-verify PROOF.json [--key VKEY]...
    onrecord-verify EXTENSION.json --since CHECKPOINT [--key VKEY]...

It shares no code with the service and needs neither its keys nor a network, so it can be read in half an hour, copied
to another machine and archived. It verifies that

- every event is in the tree whose root a checkpoint has,
- texts match the commitments in the stored bytes, and readable fields match the stored bytes,
- a room's seqs have no gap,
- no byte of any file was changed,
- since a checkpoint that the user kept, events were only appended (an extension compares the signed trees; an export
  of everything, all events with both trees),
- and the checkpoint is signed by a trusted key.

`--key` gives a trusted key, or a file of keys; without it the first key in the files is trusted, and printed.

Invariant: input that cannot be verified is bad. The program prints `ok N events` and exits with 0, or prints `bad` with
a sentence and exits with 1. If an argument names no such input (a file that does not exist, or is of another kind), or
`--since` is given with an input that cannot show it, it says so and exits with 2.
"""

import argparse
import base64
import hashlib
import json
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

LARGEST = {"manifest.json": 1 << 26}
"""The size limits in bytes of files read into memory, by name; 16 MiB for all others."""
LONGEST = 1 << 22
"""The size limit in bytes of a line of events."""
LEAVES = "leaves.bin"
"""The leaf hashes of an export's events, 32 bytes each, which locate a changed event by line and position."""
MALFORMED = (ValueError, TypeError, AttributeError, struct.error)
"""The exceptions that malformed input causes."""


class Bad(Exception):
    """The input is bad; the message is a sentence."""


class Misnamed(Exception):
    """An argument does not name what it should; the message is a sentence."""


def regular(path: Path) -> Path:
    """Return the path of a regular file; reject links, which could lead out of the directory, and devices."""
    if path.is_symlink() or not path.is_file():
        raise Bad(f"{path.name} is not a regular file")
    return path


def read(path: Path) -> bytes:
    """Return the content of a regular file within its size limit."""
    if regular(path).stat().st_size > LARGEST.get(path.name, 1 << 24):
        raise Bad(f"{path.name} is too large")
    return path.read_bytes()


# Ed25519, verification only (RFC 8032, section 5.1). Slow and simple; an export has few signatures.

P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]
"""X, Y, Z, T of a point, where x = X/Z, y = Y/Z, x*y = T/Z."""


def _add(a: Point, b: Point) -> Point:
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    x, y, z, t = f - e, h - g, h + g, f + e
    return x * y % P, z * t % P, y * z % P, x * t % P


def _times(factor: int, point: Point) -> Point:
    product: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            product = _add(product, point)
        point, factor = _add(point, point), factor >> 1
    return product


def _point(encoded: bytes) -> Point | None:
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (not x and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether a signature is valid."""
    base = _point(bytes([0x58]) + bytes([0x66]) * 31)
    key, point = _point(public), _point(signature[:32])
    factor = int.from_bytes(signature[32:], "little")
    if len(public) != 32 or len(signature) != 64 or not (base and key and point) or factor >= ORDER:
        return False
    digest = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    left, right = _times(factor, base), _add(point, _times(digest, key))
    return not (
        (left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P
    )


# Signed notes (C2SP signed-note) and checkpoints (C2SP tlog-checkpoint).


def _unbase64(text: str) -> bytes:
    decoded = base64.b64decode(text, validate=True)
    if base64.b64encode(decoded).decode() != text:
        raise Bad("base64 is not in its canonical form")
    return decoded


def vkey(text: str) -> tuple[str, bytes, bytes]:
    """Return the name, the id and the public key of a vkey."""
    name, key_id, encoded = text.strip().split("+", 2)
    public = _unbase64(encoded)
    digest = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if public[:1] != b"\x01" or digest.hex() != key_id:
        raise Bad(f"{text.strip()!r} is not an Ed25519 vkey")
    return name, digest, public[1:]


def opened(note: str, keys: list[str], what: str) -> str:
    """Return the text of a note signed by one of `keys`; `what` names the note in errors."""
    text, _, below = note.rpartition("\n\n")
    if not below.endswith("\n") or any(char < " " and char != "\n" for char in note):
        raise Bad(f"{what} is not a signed note")
    known = {(name, key_id): public for name, key_id, public in map(vkey, keys)}
    signed = False
    for line in below.removesuffix("\n").split("\n"):
        dash, name, encoded = line.split(" ")
        signature = _unbase64(encoded)
        if dash != "\u2014":
            raise Bad(f"{what} is not a signed note")
        if public := known.get((name, signature[:4])):
            if not ed25519(public, text.encode() + b"\n", signature[4:]):
                raise Bad(f"the signature of {what} is invalid")
            signed = True
    if not signed:
        raise Bad(f"{what} is not signed by a trusted key")
    return text + "\n"


def trusted(keys: list[dict[str, str]], kept: list[str]) -> list[str]:
    """Return the trusted keys: those that the user kept, and all that these endorse, directly or over other keys."""
    accepted = kept or [keys[0]["vkey"]]
    for key in keys:
        vkey(key["vkey"])
        if key["vkey"] in accepted or not key["endorsement"]:
            continue
        try:
            text = opened(key["endorsement"], accepted, "an endorsement")
        except Bad:
            continue
        if text == f"{vkey(key['vkey'])[0]}/key\n{key['vkey']}\n":
            accepted.append(key["vkey"])
    return accepted


class Tree:
    """The tree of a checkpoint: its size, its root, and the position of the last event."""

    def __init__(self, note: str, keys: list[str], what: str = "the checkpoint") -> None:
        self.text = opened(note, keys, what)
        self.origin, size, root, self.position = self.text.removesuffix("\n").split("\n")
        self.size, self.root = int(size), _unbase64(root)


# The Merkle tree (RFC 9162, section 2.1), and the encoding of an event as a leaf.


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def includes(tree: Tree, index: int, leaf: bytes, path: list[bytes]) -> bool:
    """Return whether a path proves that a leaf is in the tree."""
    number, last = index, tree.size - 1
    for other in path:
        if not last:
            return False
        if number & 1 or number == last:
            leaf = node(other, leaf)
            while number and not number & 1:
                number, last = number >> 1, last >> 1
        else:
            leaf = node(leaf, other)
        number, last = number >> 1, last >> 1
    return 0 <= index < tree.size and not last and leaf == tree.root


def extends(old: Tree, new: Tree, path: list[bytes]) -> bool:
    """Return whether a path proves that the new tree begins with the old one."""
    if not 0 < old.size <= new.size:
        return False
    if old.size == new.size:
        return not path and old.root == new.root
    if not old.size & (old.size - 1):
        path = [old.root, *path]
    number, last = old.size - 1, new.size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    old_node = new_node = path[0] if path else b""
    for other in path[1:]:
        if not last:
            return False
        if number & 1 or number == last:
            old_node, new_node = node(other, old_node), node(other, new_node)
            while number and not number & 1:
                number, last = number >> 1, last >> 1
        else:
            new_node = node(new_node, other)
        number, last = number >> 1, last >> 1
    return not last and old_node == old.root and new_node == new.root


def root_of(leaves: Iterable[bytes]) -> tuple[int, bytes]:
    """Return the number of leaves and the root of their tree."""
    count, peaks = 0, list[bytes]()
    for leaf in leaves:
        append(peaks, count, leaf)
        count += 1
    return count, join(peaks)


def append(peaks: list[bytes], count: int, leaf: bytes) -> None:
    """Append a leaf to a tree of `count` leaves, which is given by its perfect subtrees, the largest first."""
    while count & 1:
        leaf, count = node(peaks.pop(), leaf), count >> 1
    peaks.append(leaf)


def join(peaks: list[bytes]) -> bytes:
    """Return the root of a tree that is given by its perfect subtrees."""
    root = peaks[-1] if peaks else hashlib.sha256().digest()
    for peak in peaks[-2::-1]:
        root = node(peak, root)
    return root


def beginning(leaves: Iterable[bytes], old: Tree) -> Iterator[bytes]:
    """Yield the leaves; check that the first ones are those of an older tree."""
    count, peaks = 0, list[bytes]()
    for leaf in leaves:
        if count < old.size:
            append(peaks, count, leaf)
        count += 1
        if count == old.size and join(peaks) != old.root:
            raise Bad(
                f"the first {count} events are not those of the checkpoint that you kept: the record was rewritten"
            )
        yield leaf
    if count < old.size:
        raise Bad(f"the record ends after {count} events; the checkpoint that you kept has {old.size}")


EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


def leaf_of(event: dict[str, Any], state: bytes) -> bytes:
    """Return the leaf hash of an event; `state` is the SHA-256 of its stored bytes."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["at"]):
        raise Bad("a time is not in its canonical form")
    at = (datetime.fromisoformat(event["at"]) - EPOCH) // timedelta(microseconds=1)
    encoded = b"\x00\x01" + number(event["position"]) + text(event["stream"]) + number(event["seq"])
    encoded += text(event["topic"]) + text(event["subject"]) + number(at) + text(event["by"])
    return hashlib.sha256(encoded + state).digest()


def number(value: object) -> bytes:
    """Return the encoding of a number in a leaf."""
    if type(value) is not int:
        raise Bad(f"{value!r} is not an integer")
    return struct.pack(">q", value)


def text(value: object) -> bytes:
    """Return the encoding of a text in a leaf."""
    if not isinstance(value, str):
        raise Bad(f"{value!r} is not a text")
    return struct.pack(">I", len(value.encode())) + value.encode()


EVENT = {"index", "position", "stream", "seq", "topic", "subject", "at", "by"}


def check_event(event: dict[str, Any], tree: Tree) -> bytes:
    """Check an event against its stored bytes, and its path if it has one; return its leaf hash."""
    hidden = "stateSha256" in event
    if event.keys() - {"path", "unreadable"} != EVENT | (
        {"stateSha256"} if hidden else {"state", "words", "fields"}
    ):
        raise Bad(f"the fields of an event are {sorted(event)}")
    state = bytes.fromhex(event["stateSha256"]) if hidden else check_words(event)
    if type(event["index"]) is not int or len(state) != 32:
        raise Bad("an event has no index in the tree, or no hash")
    leaf = leaf_of(event, state)
    if "path" in event and not includes(tree, event["index"], leaf, list(map(bytes.fromhex, event["path"]))):
        raise Bad(f"the event at position {event['position']} is not in the signed tree")
    return leaf


def check_words(event: dict[str, Any]) -> bytes:
    """Check texts against their commitments, and the readable fields against both; return the hash of the state."""
    fields = load(event["state"])
    words, where = dict(event["words"]), f"position {event['position']}"
    for name, value in fields.items():
        if sealed(value):
            word = words.pop(name, None)
            fields[name] = word and word["text"]
            if word and (
                word.keys() != {"text", "salt"} or not commits(value["h"], word["salt"], word["text"])
            ):
                raise Bad(f"the content at {where} is not what was recorded")
    if words or json.dumps(event["fields"]) != json.dumps(fields):
        raise Bad(f"what is shown at {where} is not what was recorded")
    return hashlib.sha256(event["state"].encode()).digest()


def sealed(value: object) -> bool:
    """Return whether a stored field is encrypted: an object of key id, commitment and ciphertext."""
    shape = isinstance(value, dict) and value.keys() == {"k", "h", "c"}
    return shape and all(isinstance(part, str) for part in value.values())  # type: ignore[attr-defined] # a dict


def commits(commitment: str, salt: str, words: str) -> bool:
    """Return whether a commitment matches a salt and a text."""
    return _unbase64(commitment) == hashlib.sha256(_unbase64(salt) + words.encode()).digest()


# Proofs and exports.


def load(text: str | bytes) -> Any:
    """Decode JSON; reject an object with a repeated name, which parsers could read differently."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise Bad("an object has the same name twice")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


def check_file_of_proof(path: Path, kept: list[str], since: Path | None, say: Callable[[str], None]) -> int:
    """Check a proof of an event or of an extension; return the number of events that it covers."""
    proof = load(read(path))
    if proof["format"] == "onrecord-extension/1":
        return check_extension(proof, kept, since, say)
    if since:
        raise Misnamed(f"`--since` is for an extension or an export of everything; {path} is neither.")
    return check_proof(proof, kept, say)


def check_extension(
    proof: dict[str, Any], kept: list[str], since: Path | None, say: Callable[[str], None]
) -> int:
    """Check that events were only appended since a checkpoint; return the number of events now."""
    if proof.keys() != {"format", "older", "checkpoint", "path", "keys"}:
        raise Bad("this is not a proof in a format that this version reads")
    if since and read(since).decode() != proof["older"]:
        raise Bad("the older checkpoint of the proof is not the one that you kept")
    keys = trusted(proof["keys"], kept)
    old, new = Tree(proof["older"], keys), Tree(proof["checkpoint"], keys)
    if old.origin != new.origin or not extends(old, new, list(map(bytes.fromhex, proof["path"]))):
        raise Bad("the record does not begin with the events of the older checkpoint: it was rewritten")
    report(new, keys, kept, say)
    say(f"It begins with the {old.size} events of the older checkpoint.")
    say(
        "This compares signed trees, not events. To check the events, give --since with an export of everything."
    )
    if not since:
        say(
            "That checkpoint came with the proof: compare it with the one that you keep, or give yours with --since."
        )
    return new.size


def check_proof(proof: dict[str, Any], kept: list[str], say: Callable[[str], None]) -> int:
    """Check the proof of one event; return 1."""
    if proof["format"] != "onrecord-proof/1" or proof.keys() != {"format", "event", "checkpoint", "keys"}:
        raise Bad("this is not a proof in a format that this version reads")
    keys = trusted(proof["keys"], kept)
    tree = Tree(proof["checkpoint"], keys)
    if "path" not in proof["event"]:
        raise Bad("the proof has no path")
    check_event(proof["event"], tree)
    report(tree, keys, kept, say)
    return 1


def check_export(place: Path, kept: list[str], say: Callable[[str], None], since: Path | None = None) -> int:
    """Check an export, and that it begins with the events of a checkpoint; return the number of its events."""
    written = read(place / "manifest.json")
    manifest = load(written)
    if manifest["format"] != "onrecord-export/1":
        raise Bad("this is not an export in a format that this version reads")
    keys = trusted(load(read(place / "keys.json")), kept)
    tree = Tree(read(place / "checkpoint.txt").decode(), keys)
    signed = opened(read(place / "manifest.sig").decode(), keys, "the manifest")
    if signed != f"{tree.origin}/export\nsha256 {hashlib.sha256(written).hexdigest()}\n":
        raise Bad("the manifest was changed")
    if since and manifest["scope"]["kind"] != "all":
        raise Misnamed(f"`--since` is for an extension or an export of everything; {place} is neither.")
    old = older(since, tree, keys) if since else None
    if {file.name for file in place.iterdir()} != {"manifest.json", "manifest.sig", *manifest["files"]}:
        raise Bad("the directory has other files than the manifest")
    if not {"events.ndjson", "checkpoint.txt", "keys.json"} <= manifest["files"].keys():
        raise Bad("the manifest lacks a file of an export")
    # Events first, because their errors have a location.
    digests = {name: named["sha256"] for name, named in manifest["files"].items()}
    leaves = place / LEAVES if LEAVES in digests else None
    if leaves:
        check_file(leaves, digests[LEAVES])
    count = check_events(place / "events.ndjson", manifest["scope"], tree, leaves, old)
    for name, digest in digests.items():
        check_file(place / name, digest)
    if count != manifest["events"]:
        raise Bad(f"the manifest has {manifest['events']} events, the export {count}")
    report(tree, keys, kept, say)
    if old:
        say(f"It begins with the {old.size} events of the checkpoint that you kept.")
    return count


def older(since: Path, tree: Tree, keys: list[str]) -> Tree:
    """Return the tree of a checkpoint that the user kept; it has to be of the same record."""
    old = Tree(read(since).decode(), keys, "the checkpoint that you kept")
    if old.origin != tree.origin:
        raise Bad("the checkpoint that you kept is of another record")
    return old


def check_file(path: Path, expected: str) -> None:
    """Check a file against its digest in the manifest."""
    with regular(path).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise Bad(f"{path.name} was changed")


def check_events(
    path: Path, scope: dict[str, str], tree: Tree, sealed: Path | None = None, old: Tree | None = None
) -> int:
    """Check each event, and that the events are exactly those of the scope; return their number.

    `sealed` is the file of their leaf hashes, which locates a changed event; `old` a tree with which all events begin.
    """
    expected = hashes(sealed) if sealed else None
    leaves = check_lines(path, scope, tree, expected)
    if old:
        leaves = beginning(leaves, old)
    if scope["kind"] == "all":
        count, root = root_of(leaves)
    else:
        count, root = sum(1 for _ in leaves), tree.root
    missing = sum(1 for _ in expected or ()) or (max(tree.size - count, 0) if scope["kind"] == "all" else 0)
    if missing:
        raise Bad(f"after line {count} of {path.name} {missing} events are missing")
    if root != tree.root:
        raise Bad("these events are not those that were signed")
    return count


def check_lines(
    path: Path, scope: dict[str, str], tree: Tree, expected: Iterator[bytes] | None
) -> Iterator[bytes]:
    """Check each event and yield its leaf hash; errors name the line and the position."""
    position = 0
    for count, line in enumerate(lines(path)):
        where = f"line {count + 1} of {path.name}"
        try:
            event = load(line)
            where += f", position {event['position']}"
            leaf = check_event(event, tree)
            check_place(event, scope, count, position)
            check_sealed(leaf, expected)
        except Bad as found:
            raise Bad(f"{where}: {found}") from found
        except (LookupError, RecursionError, *MALFORMED) as problem:
            raise Bad(f"{where}: the event is malformed ({problem!r})") from problem
        position = event["position"]
        yield leaf


def check_place(event: dict[str, Any], scope: dict[str, str], before: int, position: int) -> None:
    """Check that an event may follow `before` events, the last of them at `position`."""
    if not belongs(event, scope, before) or event["position"] <= position:
        raise Bad("this event does not belong here, or one before it is missing")
    if ("path" in event) == (scope["kind"] == "all"):
        raise Bad("only an event in an export of part of the record has a path")


def check_sealed(leaf: bytes, expected: Iterator[bytes] | None) -> None:
    """Check a leaf hash against the next one of the export, if it has leaf hashes."""
    if expected and leaf != next(expected, None):
        raise Bad("another event was sealed here, or one before it is missing")


def belongs(event: dict[str, Any], scope: dict[str, str], before: int) -> bool:
    """Return whether an event that follows `before` events belongs to an export of this scope."""
    if scope["kind"] == "all":
        return bool(event["index"] == before)
    if scope["kind"] == "room":
        return (event["stream"], event["seq"]) == (f"room:{scope['room']}", before + 1)
    person = scope["person"]
    about = event["subject"] == f"user:{person}" or event["stream"] in (
        f"person:{person}",
        f"session:{person}",
    )
    return about or event["by"] == person


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file."""
    with regular(path).open("rb") as file:
        count = 0
        while line := file.readline(LONGEST):
            count += 1
            if not line.endswith(b"\n"):
                raise Bad(f"line {count} of {path.name} is incomplete or too long")
            yield line


def hashes(path: Path) -> Iterator[bytes]:
    """Yield the leaf hashes of a file."""
    with path.open("rb") as file:
        while leaf := file.read(32):
            yield leaf


def printable(words: object) -> str:
    """Escape characters that could move a terminal's cursor; the text comes from untrusted files."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(words))


def report(tree: Tree, keys: list[str], kept: list[str], say: Callable[[str], None]) -> None:
    """Print the checkpoint and, if no key was given, the key that is trusted."""
    say(f"Sealed in {tree.origin}: {tree.size} events up to {tree.position}.")
    if not kept:
        advice = "compare it with the key that you keep, or give yours with --key"
        say(f"Signed by {keys[0]}, a key from the same files: {advice}.")


def check_kind(path: Path) -> None:
    """Check that a path names something like an export or a proof, as changed as it may be."""
    is_other = False
    if path.is_dir():
        is_other = not any(
            (path / name).exists() for name in ("manifest.json", "events.ndjson", "unfinished.json")
        )
    elif path.is_file():
        with path.open("rb") as file:
            start = file.read(64).lstrip()[:1]
        is_other = start.isascii() and start not in (b"", b"{", b"[")
    elif not path.exists() and not path.is_symlink():
        raise Misnamed(f"There is no file {path}.")
    if is_other:
        raise Misnamed(f"{path} is no export and no proof.")


def check_checkpoint(path: Path) -> None:
    """Check that a path names something like a checkpoint."""
    if not path.is_file():
        raise Misnamed(f"There is no file {path}.")
    if "\n\n\N{EM DASH} ".encode() not in read(path):
        raise Misnamed(f"{path} is no checkpoint.")


def keys_of(argument: str) -> list[str]:
    """Return the keys that an argument gives: a vkey, or a file of vkeys."""
    try:
        path = Path(argument)
        keys = (path.read_text(encoding="utf-8") if path.is_file() else argument).split()
        for key in keys:
            vkey(key)
    except (Bad, OSError, *MALFORMED):
        keys = []
    if not keys:
        raise Misnamed(f"`--key {argument}` is neither a key nor a file with one.")
    return keys


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "onrecord-verify", description="Verify an export or a proof of OnRecord offline."
    )
    parser.add_argument("path", type=Path, help="directory of an export, or file of a proof")
    parser.add_argument(
        "--key", action="append", default=[], help="a trusted vkey, or a file of vkeys; can be repeated"
    )
    parser.add_argument(
        "--since",
        type=Path,
        help="a checkpoint that you kept, with which an extension or an export of everything begins",
    )
    args = parser.parse_args()

    def say(words: str) -> None:
        print(printable(words), file=sys.stderr)

    try:
        check_kind(args.path)
        if args.since:
            check_checkpoint(args.since)
        kept = [key for argument in args.key for key in keys_of(argument)]
        if args.path.is_dir():
            count = check_export(args.path, kept, say, args.since)
        else:
            count = check_file_of_proof(args.path, kept, args.since, say)
    except Misnamed as problem:
        say(str(problem))
        return 2
    except Bad as found:
        print(printable(f"bad: {found}."))
        return 1
    except (OSError, ArithmeticError, LookupError, RecursionError, *MALFORMED) as problem:
        print(printable(f"bad: the export or proof is malformed ({problem!r})."))
        return 1
    print(f"ok {count} event{'s' * (count != 1)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
