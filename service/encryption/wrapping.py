"""Wraps every other key in the database with the key encryption key of the installation.

During a rotation there are several: the first wraps; each of them can unwrap, and recognizes a command's fingerprint. A
rotation adds the new key as the last on all nodes, then makes it the first, then rewraps all rows
(`service.encryption.rewrap`). The old key is dropped when no ref with a fingerprint of that key is left.

Invariant: only this module uses the key encryption key, so only this module changes for another key store (an HSM, a
service).
"""

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LENGTH = 32
"""Bytes of a key encryption key: AES-256."""

_NONCE = 12
_FINGERPRINT = _IDENTIFIER = 16


def bound_to_seal_key(number: int, name: str, public: bytes, endorsement: str | None) -> bytes:
    """Return the data that is authenticated with the secret of a seal key: all other fields of its row."""
    return f"onrecord seal key|{number}|{name}|{public.hex()}|{endorsement or ''}".encode()


class Wrapping:
    """Wraps and unwraps with concatenated keys of `LENGTH` bytes each; `bound` is authenticated.

    `identifiers` are 16 bytes per key, which say which key it is and reveal nothing of it.
    """

    def __init__(self, keys: bytes) -> None:
        if not keys or len(keys) % LENGTH:
            message = f"key encryption keys have {LENGTH} bytes each"
            raise ValueError(message)
        self._keys = [keys[start : start + LENGTH] for start in range(0, len(keys), LENGTH)]
        self._ciphers = [AESGCM(key) for key in self._keys]
        self.identifiers = [
            hmac.digest(key, b"onrecord key encryption key", "sha256")[:_IDENTIFIER] for key in self._keys
        ]
        self._fingerprints = [
            hmac.digest(key, b"onrecord command fingerprints", "sha256") for key in self._keys
        ]

    def wrap(self, secret: bytes, bound: bytes) -> bytes:
        """Return a secret, wrapped by the first key."""
        nonce = os.urandom(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, secret, bound)

    def unwrap(self, wrapped: bytes, bound: bytes) -> bytes:
        """Return a secret.

        Raises:
            InvalidTag: none of the keys wrapped it.
        """
        return self._opened(wrapped, bound)[1]

    def opens(self, wrapped: bytes, bound: bytes) -> bool:
        """Return whether any of the keys wrapped a secret."""
        try:
            self._opened(wrapped, bound)
        except InvalidTag:
            return False
        return True

    def is_current(self, wrapped: bytes, bound: bytes) -> bool:
        """Return whether the first key wrapped a secret.

        Raises:
            InvalidTag: none of the keys did.
        """
        return self._opened(wrapped, bound)[0] == 0

    def fingerprint(self, command: bytes) -> bytes:
        """Return 16 bytes per key, which distinguish commands with the same ref and reveal no content."""
        parts = [hmac.digest(key, command, "sha256")[:_FINGERPRINT] for key in self._fingerprints]
        return b"".join(parts)

    def derived(self, purpose: bytes) -> list[bytes]:
        """Return `LENGTH` bytes derived from each key, in order, for one purpose (HKDF, RFC 5869)."""
        return [
            HKDF(algorithm=SHA256(), length=LENGTH, salt=None, info=purpose).derive(key) for key in self._keys
        ]

    def _opened(self, wrapped: bytes, bound: bytes) -> tuple[int, bytes]:
        for number, cipher in enumerate(self._ciphers):
            try:
                return number, cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], bound)
            except (InvalidTag, ValueError):  # ValueError: too short
                continue
        raise InvalidTag
