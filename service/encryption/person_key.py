"""Encrypts personal fields with a person's key.

A field is encrypted with AES-256-GCM (NIST SP 800-38D) together with a 32-byte salt. The commitment
SHA-256(salt || text) is stored beside the ciphertext, so that one message can be proved to an outsider without a key.
"""

import hashlib
import os
from base64 import b64decode
from binascii import b2a_base64
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SALT = 32
_NONCE = 12


class PersonKey:
    """An unwrapped key of a person."""

    def __init__(self, key_id: UUID, secret: bytes) -> None:
        self.key_id = key_id
        self._id = str(key_id)
        self._aead = AESGCM(secret)

    def seal(self, text: str, context: str) -> dict[str, str]:
        """Return the stored form of `text`: key id `k`, commitment `h`, and nonce with ciphertext `c` (base64).

        `context` (stream, topic and field) is authenticated, so that a ciphertext cannot be moved to another field.
        """
        salt = os.urandom(_SALT)
        return {"k": self._id, "h": commitment(salt, text), "c": self.encrypt(salt, text, context)}

    def encrypt(self, salt: bytes, text: str, context: str) -> str:
        """Return only nonce and ciphertext, the `c` of `seal`, with a given salt."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._aead.encrypt(nonce, salt + text.encode(), self._bind(context))
        return b2a_base64(sealed, newline=False).decode()

    def open(self, stored: dict[str, str], context: str) -> str:
        """Return the text in a stored form.

        Raises:
            cryptography.exceptions.InvalidTag: see `reveal`.
        """
        return self.reveal(stored, context)[1]

    def reveal(self, stored: dict[str, str], context: str) -> tuple[bytes, str]:
        """Return the salt and the text in a stored form; with both, the commitment can be checked without a key.

        Raises:
            cryptography.exceptions.InvalidTag: this key did not encrypt the bytes in that context, or the commitment
                is to another text.
        """
        try:
            sealed = b64decode(stored["c"])
            salted = self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._bind(context))
            salt, text = salted[:_SALT], salted[_SALT:].decode()
        except (ValueError, TypeError, LookupError) as problem:  # not made by `seal`
            raise InvalidTag from problem
        if commitment(salt, text) != stored.get("h"):  # a text of the same person, from another event
            raise InvalidTag
        return salt, text

    def _bind(self, context: str) -> bytes:
        return f"{self._id}|{context}".encode()


def commitment(salt: bytes, text: str) -> str:
    """Return the commitment to a text (base64), with which the text can be proved later."""
    return b2a_base64(hashlib.sha256(salt + text.encode()).digest(), newline=False).decode()


def is_sealed(value: object) -> bool:
    """Return whether a field of a stored event is sealed; no other field has this form."""
    if not isinstance(value, dict) or value.keys() != {"k", "h", "c"}:
        return False
    return all(isinstance(part, str) for part in value.values())
