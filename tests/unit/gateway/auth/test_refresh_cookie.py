"""What a browser keeps to renew a sign-in by: only this installation reads it, and only as what it was sealed as."""

import pytest

from service.gateway.auth.refresh_cookie import MOST_SEALED, RefreshCookies, Renewable

OLD, NEW = b"o" * 32, b"n" * 32
ISSUER, CLIENT = "https://id.example.com", "chat"
RENEWAL = "r" * 32
ALICE = Renewable("alice", "Alice ✨", "refresh-token-of-alice")


def renewals(keys: bytes = OLD, issuer: str = ISSUER, client: str = CLIENT) -> RefreshCookies:
    return RefreshCookies(keys, issuer, client)


def sealed(by: RefreshCookies) -> str:
    text = by.seal(ALICE, RENEWAL)
    assert text is not None
    return text


def test_sealed_cookie_opens_on_any_node_and_reveals_nothing() -> None:
    text = sealed(renewals())
    assert renewals().open(text, RENEWAL) == ALICE
    assert text.isascii()
    assert not set(text) & set(' ",;\\'), "a cookie may hold it as it is"
    assert "alice" not in text
    assert sealed(renewals()) != text


def test_a_key_that_is_being_replaced_still_opens() -> None:
    text = sealed(renewals(OLD))
    assert renewals(NEW + OLD).open(text, RENEWAL) == ALICE
    assert renewals(OLD).open(sealed(renewals(NEW + OLD)), RENEWAL) is None, "the first one seals"


@pytest.mark.parametrize(
    "other", [renewals(NEW), renewals(issuer="https://id.example.org"), renewals(client="another")]
)
def test_another_installation_or_provider_opens_nothing(other: RefreshCookies) -> None:
    assert other.open(sealed(renewals()), RENEWAL) is None


def test_it_is_good_under_its_own_name_and_unaltered() -> None:
    text = sealed(renewals())
    assert renewals().open(text, "s" * 32) is None
    for spoilt in ("", "x", text[:-1], text[1:], f"{text[:40]}{'A' if text[40] != 'A' else 'B'}{text[41:]}"):
        assert renewals().open(spoilt, RENEWAL) is None
    assert renewals().open("é", RENEWAL) is None


def test_what_no_browser_would_keep_is_not_given_to_one() -> None:
    lengths = [n for n in range(2_000, 4_000) if renewals().seal(Renewable("alice", "A", "t" * n), RENEWAL)]
    assert 2_600 < max(lengths) < MOST_SEALED
    assert lengths == list(range(2_000, max(lengths) + 1))
