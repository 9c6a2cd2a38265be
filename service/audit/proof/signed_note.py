"""Signed notes in the format C2SP `signed-note`, with Ed25519: a text followed by its signatures. Pure.

    the text, which ends with a newline
    <empty line>
    — <key name> <base64 of the key's id and the signature>

A key's id is the first four bytes of the SHA-256 of its name, a newline, 0x01 (Ed25519) and the public key. A *vkey*
is the verifier's form of a key: `<name>+<id in hex>+<base64 of 0x01 and the public key>`.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_ID = 4
_DASH = "\N{EM DASH} "
MAX_NOTE = 16_384
"""The most characters of a note."""


class NoteInvalid(Exception):
    """The text is not a signed note, or no known key has signed it; the message is a clause."""


class VerifierKey(NamedTuple):
    """A public key with its name."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Return the key of a vkey.

        Raises:
            NoteInvalid: the text is not a vkey of an Ed25519 key.
        """
        name, _, rest = vkey.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        public = _unbase64(encoded)
        key = cls(name, public[1:])
        if public[:1] != _ED25519 or len(public) != 33 or not _is_name(name) or key.id.hex() != key_id:  # noqa: PLR2004 - 1 + 32 bytes
            raise NoteInvalid(f"{vkey.strip()!r} is not the vkey of an Ed25519 key")
        return key

    @property
    def id(self) -> bytes:
        """The four bytes that precede this key's signatures."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_ID]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(_ED25519 + self.public).decode()}"

    def verifies(self, text: str, signature: bytes) -> bool:
        """Return whether a signature of `text` was made by this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


class SigningKey:
    """A secret key with its name."""

    def __init__(self, name: str, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.verifier = VerifierKey(name, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """Return `text`, which must end with a newline, as a note signed by this key."""
        signature = self.verifier.id + self._key.sign(text.encode())
        return f"{text}\n{_DASH}{self.verifier.name} {b64encode(signature).decode()}\n"


def open_note(note: str, keys: Iterable[VerifierKey]) -> str:
    """Return the text of a note that at least one of `keys` has signed; signatures of unknown keys are ignored.

    Raises:
        NoteInvalid: the text is not a note, no known key has signed it, or a known key's signature is invalid.
    """
    text, signatures = _split(note)
    known = {(key.name, key.id): key for key in keys}
    signed = False
    for name, signature in signatures:
        if (key := known.get((name, signature[:_ID]))) is not None:
            if not key.verifies(text, signature[_ID:]):
                raise NoteInvalid(f"the signature of {name} is invalid")
            signed = True
    if not signed:
        raise NoteInvalid("no known key has signed it")
    return text


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    text, separator, below = note.rpartition("\n\n")
    lines = below.split("\n")
    is_framed = separator and len(note) <= MAX_NOTE and not lines.pop() and lines
    if not is_framed or any(char < " " and char != "\n" for char in note):
        raise NoteInvalid("it is not a signed note")
    return text + "\n", [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _is_name(name):
        raise NoteInvalid("a line of signatures is malformed")
    return name, _unbase64(encoded)


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def _unbase64(encoded: str) -> bytes:
    """Decode canonical base64 only; otherwise different texts could encode the same bytes."""
    try:
        decoded = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded or b64encode(decoded).decode() != encoded:
        raise NoteInvalid("it is not a signed note: base64 is expected")
    return decoded
