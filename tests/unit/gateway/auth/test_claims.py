"""What tokens of real providers say: their shapes, the settings of the guides, and what comes of both."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from service.config.settings import SHARED, Settings
from service.errors import NotAllowed, TokenInvalid
from service.gateway.auth.claims import ADMIN, AUDITOR, CHAT, SCOPES, ClaimRules, find
from service.gateway.auth.jwks import SharedSecret
from service.gateway.auth.tokens import TokenVerifier
from tests.support.clients.subjects import INVALID, SUBJECTS
from tests.support.environment import ROOT, SECRET

LATER = 4_000_000_000
GUIDES = sorted((ROOT / "docs" / "guides" / "providers").glob("*.md"))
ASSIGNED = re.compile(r"(ONRECORD_\w+)=([^`\n]+)")
KEYCLOAK = {
    "exp": LATER, "iat": 1_764_400_000, "auth_time": 1_764_399_990, "jti": "onrtac:5b1c", "typ": "Bearer",
    "iss": "https://id.example.com/realms/acme", "aud": ["chat", "account"], "azp": "chat-page",
    "sub": "8c1a2f9e-6c2b-4f0a-9a51-0c5d2b1f7e11", "sid": "b8a9", "acr": "1", "scope": "openid profile email",
    "realm_access": {"roles": ["offline_access", "chat-staff", "admin"]},
    "resource_access": {"my.chat": {"roles": ["compliance"]}, "account": {"roles": ["view-profile"]}},
    "email_verified": True, "name": "Alice Liddell", "preferred_username": "alice",
}  # fmt: skip
ENTRA = {
    "aud": "7f6b0e5c-1111-4c22-8d33-2b1f0c9d4e55", "ver": "2.0", "exp": LATER, "iat": 1_764_400_000,
    "nbf": 1_764_400_000, "iss": "https://login.microsoftonline.com/2f1c/v2.0", "azp": "9a8b", "tid": "2f1c",
    "sub": "-xW3kZ0yQ1", "oid": "00000000-0000-0000-66f3-3332eca7ea81", "name": "Alice Liddell",
    "preferred_username": "alice@example.com", "scp": "Chat.Use", "roles": ["Chat.Audit"],
}  # fmt: skip
AUTH0 = {
    "iss": "https://acme.eu.auth0.com/", "sub": "auth0|5f7c8ec7c33c6c004bbafe82", "azp": "kR3x", "exp": LATER,
    "aud": ["https://chat.example.com", "https://acme.eu.auth0.com/userinfo"], "iat": 1_764_400_000,
    "scope": "openid profile email", "permissions": ["read:record", "use:chat"],
    "https://chat.example.com/name": "Alice Liddell",
}  # fmt: skip
COGNITO = {
    "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "aud": "3k4l5m", "token_use": "id", "auth_time": 1_764_400_000,
    "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_x", "cognito:username": "alice",
    "cognito:groups": ["compliance", "staff"], "exp": LATER, "iat": 1_764_400_000, "name": "Alice Liddell",
    "email": "alice@example.com", "email_verified": True,
}  # fmt: skip
GOOGLE = {
    "iss": "https://accounts.google.com", "azp": "1-x.apps.googleusercontent.com", "exp": LATER,
    "aud": "1-x.apps.googleusercontent.com", "sub": "110169484474386276334", "hd": "example.com",
    "email": "alice@example.com", "email_verified": True, "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
    "name": "Alice Liddell", "given_name": "Alice", "locale": "en", "iat": 1_764_400_000,
}  # fmt: skip
ZITADEL = {
    "iss": "https://acme.zitadel.cloud", "aud": ["2391@chat", "2390"], "exp": LATER, "iat": 1_764_400_000,
    "nbf": 1_764_400_000, "sub": "239103842301", "name": "Alice Liddell", "client_id": "2391@chat",
    "urn:zitadel:iam:org:project:roles": {"auditors": {"2389": "acme.zitadel.cloud"}},
}  # fmt: skip
TABLE: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, str | None, set[str]]]] = [
    ("keycloak", KEYCLOAK, {}, (KEYCLOAK["sub"], "Alice Liddell", {CHAT})),  # type: ignore[list-item] # a text
    (
        "keycloak, realm roles",
        KEYCLOAK,
        {"jwt_user_claim": "preferred_username", "jwt_scope_claim": "realm_access.roles",
         "jwt_scopes": ("chat-staff:chat",)},
        ("alice", "Alice Liddell", {CHAT}),
    ),
    (
        "keycloak, roles of a client with a dot",
        KEYCLOAK,
        {"jwt_scope_claim": "resource_access.my.chat.roles", "jwt_scopes": ("compliance:auditor",)},
        (KEYCLOAK["sub"], "Alice Liddell", {AUDITOR}),  # type: ignore[list-item] # a text
    ),
    ("entra, its subject", ENTRA, {}, ("-xW3kZ0yQ1", "Alice Liddell", {CHAT})),
    (
        "entra",
        ENTRA,
        {"jwt_user_claim": "oid", "jwt_scope_claim": "scp", "jwt_chat": "Chat.Use"},
        ("00000000-0000-0000-66f3-3332eca7ea81", "Alice Liddell", {CHAT}),
    ),
    (
        "entra, app roles",
        ENTRA,
        {"jwt_user_claim": "oid", "jwt_scope_claim": "roles",
         "jwt_scopes": ("Chat.Audit:auditor", "Chat.Audit:chat")},
        ("00000000-0000-0000-66f3-3332eca7ea81", "Alice Liddell", {CHAT, AUDITOR}),
    ),
    (
        "auth0",
        AUTH0,
        {"jwt_name_claim": "https://chat.example.com/name", "jwt_scope_claim": "permissions",
         "jwt_scopes": ("use:chat:chat", "read:record:auditor")},
        ("auth0|5f7c8ec7c33c6c004bbafe82", "Alice Liddell", {CHAT, AUDITOR}),
    ),
    (
        "cognito",
        COGNITO,
        {"jwt_user_claim": "cognito:username", "jwt_scope_claim": "cognito:groups",
         "jwt_scopes": ("compliance:auditor",), "jwt_chat": "staff"},
        ("alice", "Alice Liddell", {CHAT, AUDITOR}),
    ),
    ("google", GOOGLE, {}, ("110169484474386276334", "Alice Liddell", {CHAT})),
    (
        "zitadel",
        ZITADEL,
        {"jwt_scope_claim": "urn:zitadel:iam:org:project:roles", "jwt_scopes": ("auditors:auditor",)},
        ("239103842301", "Alice Liddell", {AUDITOR}),
    ),
]  # fmt: skip


def tokens(claims: dict[str, Any], settings: dict[str, Any]) -> TokenVerifier:
    """Return the verifier of a node that expects the issuer and an audience of a token."""
    audience = claims["aud"] if isinstance(claims["aud"], str) else claims["aud"][0]
    known = Settings(jwt_issuer=claims["iss"], jwt_audience=audience, **settings)
    rules = ClaimRules.of(known)
    key = SharedSecret(SECRET)
    return TokenVerifier(key, SHARED, issuer=claims["iss"], audience=audience, leeway=10, rules=rules)


@pytest.mark.parametrize(("provider", "claims", "settings", "read"), TABLE, ids=[row[0] for row in TABLE])
async def test_tokens_of_real_providers_are_read(
    provider: str, claims: dict[str, Any], settings: dict[str, Any], read: tuple[str, str | None, set[str]]
) -> None:
    token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))
    identity = await tokens(claims, settings).verify(token)
    assert (identity.user, identity.name, set(identity.scopes)) == read, provider


async def test_a_token_that_may_not_chat_is_refused_by_the_word_that_it_lacks() -> None:
    settings = {"jwt_scope_claim": "scp", "jwt_chat": "Chat.Use", "jwt_user_claim": "oid"}
    token = jwt.encode({"alg": "HS256"}, {**ENTRA, "scp": "User.Read"}, OctKey.import_key(SECRET))
    identity = await tokens(ENTRA, settings).verify(token)
    with pytest.raises(NotAllowed, match=r"with the scope Chat\.Use\."):
        identity.require(CHAT)
    with pytest.raises(NotAllowed, match=r"with the scope admin\."):
        identity.require(ADMIN)


@pytest.mark.parametrize(
    ("settings", "claims", "granted"),
    [
        ({}, {}, {CHAT}),
        ({}, {"scope": "openid profile email"}, set()),
        ({}, {"scope": "openid chat"}, {CHAT}),
        ({"jwt_issuer": "i", "jwt_audience": "a"}, {"scope": "openid profile email"}, {CHAT}),
        ({"jwt_issuer": "i", "jwt_audience": "a"}, {"scope": ""}, {CHAT}),
        ({"jwt_issuer": "i", "jwt_audience": "a"}, {"scope": 7}, {CHAT}),
        ({"jwt_issuer": "i", "jwt_audience": "a"}, {"scope": "openid auditor"}, {AUDITOR}),
        ({"jwt_issuer": "i", "jwt_audience": "a"}, {"scope": ["admin", "chat"]}, {ADMIN, CHAT}),
        ({"jwt_issuer": "i"}, {"scope": "openid"}, set()),
        ({"jwt_chat": "chat"}, {}, set()),
        ({"jwt_chat": "chat"}, {"scope": "chat"}, {CHAT}),
        ({"jwt_chat": "use", "jwt_issuer": "i", "jwt_audience": "a"}, {"scope": "chat auditor"}, {AUDITOR}),
        ({"jwt_chat": "use"}, {"scope": "use"}, {CHAT}),
        ({"jwt_scopes": ("boss:admin",)}, {"scope": "boss"}, {ADMIN}),
        ({"jwt_scopes": ("boss:admin",)}, {"scope": "admin chat"}, {ADMIN, CHAT}),
        ({"jwt_scope_claim": "roles"}, {"roles": ["admin", "auditor", "chat"], "scope": "chat"}, set()),
        ({"jwt_scope_claim": "roles"}, {"scope": "chat"}, set()),
        ({"jwt_scope_claim": "roles"}, {}, set()),
        ({"jwt_scope_claim": "roles", "jwt_scopes": ("u:chat",)}, {"roles": ["u", 7, None]}, {CHAT}),
        ({"jwt_scope_claim": "roles", "jwt_scopes": ("u v:chat",)}, {"roles": ["u v"]}, {CHAT}),
        ({"jwt_scope_claim": "roles", "jwt_scopes": ("u v:chat",)}, {"roles": "u v"}, set()),
    ],
)
def test_scopes_follow_from_the_settings(
    settings: dict[str, Any], claims: dict[str, Any], granted: set[str]
) -> None:
    assert ClaimRules.of(Settings(**settings)).scopes_of(claims) == granted


@given(
    st.sampled_from(["roles", "realm_access.roles", "urn:x:roles"]),
    st.lists(st.sampled_from([*SCOPES, "boss", "openid"])),
    st.booleans(),
)
def test_a_foreign_role_grants_at_most_chat(path: str, words: list[str], checked: bool) -> None:  # noqa: FBT001 - drawn
    audience = {"jwt_issuer": "i", "jwt_audience": "a"} if checked else {}
    rules = ClaimRules.of(Settings(jwt_scope_claim=path, **audience))  # type: ignore[arg-type] # texts
    claims: dict[str, Any] = {"scope": " ".join(words), "roles": words, "urn:x:roles": words}
    assert rules.scopes_of(claims | {"realm_access": {"roles": words}}) <= {CHAT}


@pytest.mark.parametrize("name", ["", " \t", "\u200b\u200b", "\u00ad\u2060\ufeff", "\u2800", "\u3164"])
def test_a_name_that_shows_nothing_is_none(name: str) -> None:
    assert ClaimRules().name_of({"name": name}) is None


@pytest.mark.parametrize("user", SUBJECTS)
def test_every_subject_is_a_user_id(user: str) -> None:
    assert ClaimRules().user_of({"sub": user}) == user


@pytest.mark.parametrize("user", [None, *INVALID, 7, ["alice"], {"id": "alice"}])
def test_a_user_claim_that_is_no_user_id_is_refused_by_its_name(user: object) -> None:
    with pytest.raises(TokenInvalid, match="its oid is no user id"):
        ClaimRules(user="oid").user_of({"sub": "alice", "oid": user})


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", {"b": {"c": 1}, "b.c": 2}),
        ("a.b", {"c": 1}),
        ("a.b.c", 2),
        ("a.x", None),
        ("d.e", 3),
        ("d.e.f", None),
    ],
)
def test_a_claim_is_found_by_its_name_or_its_path(path: str, found: object) -> None:
    assert find({"a": {"b": {"c": 1}, "b.c": 2}, "d.e": 3}, path) == found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"jwt_chat": "Chat.Use"},
        {"jwt_user_claim": "a.b", "jwt_name_claim": "a.c", "jwt_scope_claim": "r.s",
         "jwt_scopes": ("u:chat", "v:auditor", "w:admin")},
    ],
)  # fmt: skip
def test_development_tokens_are_read_as_they_are_meant(settings: dict[str, Any]) -> None:
    rules = ClaimRules.of(Settings(**settings))
    claims = rules.claims_for("alice", "Alice", [*SCOPES])
    assert (rules.user_of(claims), rules.name_of(claims)) == ("alice", "Alice")
    assert rules.scopes_of(claims) == {*SCOPES}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_the_settings_of_a_guide_are_valid(guide: Path) -> None:
    text = guide.read_text()
    block = dict(ASSIGNED.findall(text.split("```")[1]))
    assert {
        "ONRECORD_JWT_ISSUER",
        "ONRECORD_JWT_JWKS",
        "ONRECORD_JWT_AUDIENCE",
        "ONRECORD_OIDC_CLIENT_ID",
    } <= set(block)
    for name, value in ASSIGNED.findall(text):
        ClaimRules.of(Settings.from_env({**block, name: value}))
    assert ClaimRules.of(Settings.from_env(block)).scopes_of({"scope": "openid profile email"}) == {"chat"}
