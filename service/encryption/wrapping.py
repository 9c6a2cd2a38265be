"""The key encryption key of the installation: it wraps every other key that the database holds.

There may be several while one takes another's place. The first wraps; any of them opens, and knows a command again. So
a rotation is: the new one last on every node, then first, then every row wrapped anew (`service.encryption.rewrap`),
and the old one dropped once no ref is left that it made the fingerprint of.

The rule: this is the only code that uses it. Who keeps keys elsewhere (an HSM, a service) puts another class here.
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
_FINGERPRINT = 16


def bound_to_seal_key(number: int, name: str, public: bytes, endorsement: str | None) -> bytes:
    """Return what the secret of a seal key is bound to: the whole of its row."""
    return f"onrecord seal key|{number}|{name}|{public.hex()}|{endorsement or ''}".encode()


class Wrapping:
    """Wraps and unwraps, by keys of `LENGTH` bytes, one after the other. What is `bound` is authenticated."""

    def __init__(self, keys: bytes) -> None:
        if not keys or len(keys) % LENGTH:
            message = f"key encryption keys have {LENGTH} bytes each"
            raise ValueError(message)
        self._keys = [keys[start : start + LENGTH] for start in range(0, len(keys), LENGTH)]
        self._ciphers = [AESGCM(key) for key in self._keys]
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
        """Return 16 bytes for each key, which tell a command from another under the same ref and nobody its words."""
        made = [hmac.digest(key, command, "sha256")[:_FINGERPRINT] for key in self._fingerprints]
        return b"".join(made)

    def derived(self, purpose: bytes) -> list[bytes]:
        """Return `LENGTH` bytes of each key, in their order, for a purpose of its own (HKDF, RFC 5869)."""
        return [
            HKDF(algorithm=SHA256(), length=LENGTH, salt=None, info=purpose).derive(key) for key in self._keys
        ]

    def _opened(self, wrapped: bytes, bound: bytes) -> tuple[int, bytes]:
        for number, cipher in enumerate(self._ciphers):
            try:
                return number, cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], bound)
            except (InvalidTag, ValueError):  # the latter where it is too short to have been wrapped
                continue
        raise InvalidTag
