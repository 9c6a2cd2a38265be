"""Keeps the provider's refresh token, encrypted, in a cookie of the browser that signed in; nodes store nothing.

Invariant: only a node of this installation can decrypt the cookie. Scripts of the page cannot read the token, and a
copy of the cookie is of no use at the provider.
"""

import base64
from typing import NamedTuple

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.encryption.wrapping import Wrapping

MOST_SEALED = 3_800
"""Characters of an encrypted token: browsers accept 4,096 bytes for a cookie with its name and attributes."""


class Renewable(NamedTuple):
    """The user of the sign-in, the display name, and the refresh token."""

    user: str
    name: str
    refresh_token: str


class RefreshCookies:
    """Encrypts with the first key encryption key and decrypts with any, for one client at one provider."""

    def __init__(self, key_encryption_key: bytes, issuer: str, client_id: str) -> None:
        # Changing the provider makes all cookies invalid, so a refresh token is never sent to another provider.
        about = f"onrecord sign-in renewal|{issuer}|{client_id}".encode()
        keys = Wrapping(key_encryption_key).derived(about)
        self._sealing = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])

    def seal(self, renewable: Renewable, renewal: str) -> str | None:
        """Return the cookie's value for the id `renewal`; None if it is too large for a browser."""
        sealed = self._sealing.encrypt(msgspec.json.encode((renewal, renewable))).decode()
        return sealed if len(sealed) <= MOST_SEALED else None

    def open(self, sealed: str, renewal: str) -> Renewable | None:
        """Return what was encrypted for the id `renewal`; None if the value is invalid."""
        try:
            text = self._sealing.decrypt(sealed.encode())
        except InvalidToken:
            return None
        of, renewable = msgspec.json.decode(text, type=tuple[str, Renewable])
        return renewable if of == renewal else None
