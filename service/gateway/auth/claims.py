"""Reads what a token says of its user: the user id, the display name and the scopes, from the claims of the settings.

Invariant: no scope implies another, and only `chat` may be granted without being named: an administrator cannot read
the record, an auditor cannot chat. If another claim than `scope` is set, only mapped words count, so that a provider's
role `admin` grants nothing here.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from service.config.parsers import ANY_VALID_TOKEN
from service.config.settings import Settings
from service.domain.content.names import shortened_name
from service.errors import TokenInvalid
from service.protocol.commands import USER_ID, USER_ID_FORM
from service.protocol.strict_json import shortened

CHAT, AUDITOR, ADMIN = SCOPES = ("chat", "auditor", "admin")
"""The scopes of OnRecord."""

MAX_NAME = 100
"""Code points of a display name; a longer one is cut."""

_STANDARD = "scope"  # RFC 8693, 4.2

_user_id = re.compile(USER_ID)


@dataclass(frozen=True, kw_only=True)
class ClaimRules:
    """The claims that are read, and what their words grant.

    `grants` maps a word of the scope claim to scopes. `chat_unless_named`: a token that names no scope of OnRecord
    grants `chat`; `chat_without_claim`: a token without the scope claim does. `chat_word` is the word that errors name.
    """

    user: str = "sub"
    name: str = "name"
    scope: str = _STANDARD
    grants: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: {scope: frozenset({scope}) for scope in SCOPES}
    )
    chat_unless_named: bool = False
    chat_without_claim: bool = True
    chat_word: str = CHAT

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the rules of the settings."""
        scope, chat = settings.jwt_scope_claim, settings.jwt_chat
        pairs = [tuple(role.rsplit(":", 1)) for role in settings.jwt_scopes]
        if scope == _STANDARD:
            pairs += [(word, word) for word in SCOPES if not (chat and word == CHAT)]
        if chat and chat != ANY_VALID_TOKEN:
            pairs.append((chat, CHAT))
        grants: defaultdict[str, set[str]] = defaultdict(set)
        for word, granted in pairs:
            grants[word].add(granted)
        return cls(
            user=settings.jwt_user_claim,
            name=settings.jwt_name_claim,
            scope=scope,
            grants={word: frozenset(granted) for word, granted in grants.items()},
            chat_unless_named=chat == ANY_VALID_TOKEN
            or (not chat and bool(settings.jwt_issuer and settings.jwt_audience)),
            chat_without_claim=not chat and scope == _STANDARD,
            chat_word=CHAT if chat in ("", ANY_VALID_TOKEN) else chat,
        )

    def user_of(self, claims: Mapping[str, Any]) -> str:
        """Return the user id.

        Raises:
            TokenInvalid: the claim is missing, or is no user id.
        """
        user = find(claims, self.user)
        if not isinstance(user, str) or not _user_id.match(user):
            raise TokenInvalid(problem=f"its {self.user} is no user id, which is {USER_ID_FORM}")
        return user

    def name_of(self, claims: Mapping[str, Any]) -> str | None:
        """Return the display name, cleaned and cut to `MAX_NAME`; None if nothing of it shows."""
        claim = find(claims, self.name)
        return shortened_name(claim, MAX_NAME) if isinstance(claim, str) else None

    def scopes_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Return the scopes of OnRecord that a token grants."""
        claim = find(claims, self.scope)
        if claim is None and self.chat_without_claim:
            return frozenset({CHAT})
        granted = frozenset[str]().union(*(self.grants.get(word, ()) for word in _words(claim)))
        return frozenset({CHAT}) if self.chat_unless_named and not granted else granted

    def claims_for(self, user: str, name: str | None, scopes: list[str]) -> dict[str, Any]:
        """Return the claims of a token that these rules read as this user with these scopes."""
        words = {granted: word for word, all_granted in self.grants.items() for granted in all_granted}
        claims: dict[str, Any] = {}
        _put(claims, self.user, user)
        if name:
            _put(claims, self.name, name)
        _put(claims, self.scope, " ".join(words.get(scope, scope) for scope in scopes))
        return claims


def require_issuer(issuer: object, expected: str | None) -> None:
    """Name both values of an issuer that differs, such as by a slash at its end.

    Raises:
        TokenInvalid: the issuer is another than the expected one.
    """
    if expected and isinstance(issuer, str) and issuer != expected:
        # Nothing of the token is logged but what it shares with the setting.
        near = "; it differs by a slash at its end" if issuer.rstrip("/") == expected.rstrip("/") else ""
        raise TokenInvalid(
            problem=shortened(f"its iss is {issuer}, and {expected} is expected"),
            logged=f"invalid_claim: Invalid claim: 'iss': {expected} is expected{near}",
        )


def find(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, or by a dotted path into objects; None if there is none.

    A name may contain dots itself (`https://example.com/roles`), so the longest one that exists is taken.
    """
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name not in claims:
            continue
        if length == len(parts):
            return claims[name]
        if isinstance(claims[name], Mapping):
            return find(claims[name], ".".join(parts[length:]))
    return None


def _put(claims: dict[str, Any], path: str, value: str) -> None:
    *objects, last = path.split(".")
    for name in objects:
        claims = claims.setdefault(name, {})
    claims[last] = value


def _words(claim: object) -> list[str]:
    """Return the words of a claim: a text with spaces, an array, or an object whose names they are (Zitadel)."""
    if isinstance(claim, str):
        return claim.split()
    return [word for word in claim if isinstance(word, str)] if isinstance(claim, list | dict) else []
