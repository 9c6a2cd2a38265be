"""What a sign-in is renewed by: the provider's refresh token, sealed, in a cookie of the browser that signed in.

The rule: only a node of this installation can read it. So no node keeps anything, a script of the page cannot get at
the token, and who copies the cookie out of a browser holds nothing that the provider would take.
"""

import base64
from typing import NamedTuple

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.encryption.wrapping import Wrapping

MOST_SEALED = 3_800
"""Characters of a sealed one: browsers take 4,096 bytes of a cookie with its name and attributes."""


class Renewable(NamedTuple):
    """Whose sign-in can be renewed, under which name they signed in, and by what."""

    user: str
    name: str
    refresh_token: str


class RefreshCookies:
    """Seals and opens, for one client at one provider; any of the key encryption keys opens, the first seals."""

    def __init__(self, key_encryption_key: bytes, issuer: str, client_id: str) -> None:
        # With another provider in the settings nothing opens: its refresh tokens are nobody else's business.
        about = f"onrecord sign-in renewal|{issuer}|{client_id}".encode()
        keys = Wrapping(key_encryption_key).derived(about)
        self._sealing = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])

    def seal(self, renewable: Renewable, renewal: str) -> str | None:
        """Return what a browser keeps under the id `renewal`; None where that is more than it would keep."""
        sealed = self._sealing.encrypt(msgspec.json.encode((renewal, renewable))).decode()
        return sealed if len(sealed) <= MOST_SEALED else None

    def open(self, sealed: str, renewal: str) -> Renewable | None:
        """Return what was sealed under the id `renewal`; None where that was not so."""
        try:
            text = self._sealing.decrypt(sealed.encode())
        except InvalidToken:
            return None
        of, renewable = msgspec.json.decode(text, type=tuple[str, Renewable])
        return renewable if of == renewal else None
