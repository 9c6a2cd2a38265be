"""What a signature has to be like, by tokens made on the spot; `scripts/wycheproof` runs the vectors of others."""

import asyncio
import base64
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc.jwk import Key, OctKey

from service.config.settings import PUBLISHED, SHARED
from service.errors import TokenInvalid
from service.gateway.auth.jwks import PublishedKeys, SharedSecret
from service.gateway.auth.tokens import TokenVerifier
from tests.support.servers.key_provider import AUDIENCE, ISSUER, ec, ed25519, public, rsa, signed

SECRET = "s" * 32
HS = OctKey.import_key(SECRET)
KEYS: list[tuple[Key, str]] = [(rsa(), "RS256"), (ec(), "ES256"), (ed25519(), "EdDSA"), (HS, "HS256")]
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256 (FIPS 186-5)."""


def tokens(key: Key, place: Path) -> TokenVerifier:
    if key is HS:
        return TokenVerifier(SharedSecret(SECRET), SHARED, issuer=ISSUER, audience=AUDIENCE, leeway=0)
    (place / "keys.json").write_bytes(public(key))
    source = PublishedKeys(str(place / "keys.json"), asyncio.get_running_loop().time)
    return TokenVerifier(source, PUBLISHED, issuer=ISSUER, audience=AUDIENCE, leeway=0)


def made(key: Key, algorithm: str) -> tuple[str, bytes]:
    """Return what is signed, and its signature."""
    head, _, signature = signed(key, algorithm).rpartition(".")
    return head, base64.urlsafe_b64decode(signature + "==")


def joined(head: str, signature: bytes) -> str:
    return f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize(("key", "algorithm"), KEYS, ids=[algorithm for _, algorithm in KEYS])
async def test_no_bit_of_a_signature_may_be_another(key: Key, algorithm: str, tmp_path: Path) -> None:
    head, signature = made(key, algorithm)
    checked = tokens(key, tmp_path)
    assert (await checked.verify(joined(head, signature))).user == "alice"
    for bit in range(len(signature) * 8):
        wrong = bytearray(signature)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenInvalid):
            await checked.verify(joined(head, bytes(wrong)))


@pytest.mark.parametrize(("key", "algorithm"), KEYS, ids=[algorithm for _, algorithm in KEYS])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda _: b"",
        lambda signature: signature[:-1],
        lambda signature: signature[: len(signature) // 2],
        lambda signature: signature + b"\0",
        lambda signature: b"\0" + signature,
        lambda signature: bytes(len(signature)),
        lambda signature: b"\xff" * len(signature),
        lambda signature: signature * 2,
    ],
    ids=["none", "too short", "a half", "zero behind", "zero before", "zeros", "ones", "twice"],
)
async def test_a_signature_has_its_length_and_says_something(
    key: Key, algorithm: str, wrong: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    head, signature = made(key, algorithm)
    with pytest.raises(TokenInvalid):
        await tokens(key, tmp_path).verify(joined(head, wrong(signature)))


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (ORDER, ORDER),
        (ORDER, 1),
        (1, ORDER),
        (ORDER - 1, ORDER - 1),
        (2**256 - 1, 1),
    ],
)
async def test_numbers_that_no_signer_finds_are_no_signature(r: int, s: int, tmp_path: Path) -> None:
    key = ec()
    head, _ = made(key, "ES256")
    with pytest.raises(TokenInvalid):
        await tokens(key, tmp_path).verify(joined(head, r.to_bytes(32) + s.to_bytes(32)))


async def test_a_signature_of_es256_is_two_numbers_and_not_their_other_encoding(tmp_path: Path) -> None:
    key = ec()
    head, signature = made(key, "ES256")
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    with pytest.raises(TokenInvalid):
        await tokens(key, tmp_path).verify(joined(head, der))


def _by_hand(head: str, payload: str) -> str:
    """Return a token with a good signature over its very letters."""
    signature = hmac.digest(SECRET.encode(), f"{head}.{payload}".encode(), "sha256")
    return joined(f"{head}.{payload}", signature)


HEAD, PAYLOAD, SIGNATURE = signed(HS, "HS256").split(".")


@pytest.mark.parametrize(
    "token",
    [
        f"{HEAD}.{PAYLOAD}.{SIGNATURE}=",
        f"{HEAD}.{PAYLOAD}. {SIGNATURE}",
        f"{HEAD}.{PAYLOAD}.{SIGNATURE}\n",
        f"{HEAD}.{PAYLOAD}.?{SIGNATURE}",
        f"{HEAD}.{PAYLOAD}.{SIGNATURE}.",
        f"{HEAD}.{PAYLOAD}",
        f"{HEAD}..{SIGNATURE}",
        f".{PAYLOAD}.{SIGNATURE}",
        _by_hand(HEAD, f"{PAYLOAD}####"),
        _by_hand(f" {HEAD}", PAYLOAD),
        _by_hand(HEAD, "===="),
        json.dumps({"protected": HEAD, "payload": PAYLOAD, "signature": SIGNATURE}),
    ],
    ids=[
        *(
            "padded",
            "a space",
            "a new line",
            "a question mark",
            "a dot more",
            "two parts",
            "no payload",
            "no header",
        ),
        *("signed with what is skipped", "signed with a space", "signed padding alone", "as JSON"),
    ],
)
async def test_a_token_is_three_parts_of_base64url_and_nothing_between_them(
    token: str, tmp_path: Path
) -> None:
    with pytest.raises(TokenInvalid):
        await tokens(HS, tmp_path).verify(token)
    assert (await tokens(HS, tmp_path).verify(_by_hand(HEAD, PAYLOAD))).user == "alice"


async def test_unused_bits_of_the_last_letter_are_zero(tmp_path: Path) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters.index(SIGNATURE[-1])
    for bits in (1, 2, 3):
        other = f"{HEAD}.{PAYLOAD}.{SIGNATURE[:-1]}{letters[last ^ bits]}"
        with pytest.raises(TokenInvalid):
            await tokens(HS, tmp_path).verify(other)
