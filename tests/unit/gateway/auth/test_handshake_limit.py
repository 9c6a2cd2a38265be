"""Handshakes by address: what counts as one, and how many there may be, by a clock that the test turns."""

import pytest

from service.errors import TooManyRequests
from service.gateway.auth.handshake_limit import HandshakeLimit
from service.gateway.transport.client_address import address_key
from service.runtime import token_bucket
from tests.support.clock import Clock


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("somebody", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_ipv6_counts_by_network_and_non_addresses_count_as_one(address: str | None, counts_as: str) -> None:
    assert address_key(address) == counts_as


def test_a_burst_comes_in_and_then_the_rate_and_others_do_not_notice() -> None:
    clock = Clock()
    handshakes = HandshakeLimit(2, 5, clock)
    for host in range(5):
        handshakes.take(f"2001:db8::{host}")
    with pytest.raises(TooManyRequests) as refused:
        handshakes.take("2001:db8::ffff")
    assert refused.value.data["retryAfter"] == 0.5
    handshakes.take("2001:db8:0:1::1")
    clock.now += 0.5
    handshakes.take("2001:db8::1")
    with pytest.raises(TooManyRequests):
        handshakes.take("2001:db8::1")


def test_who_is_refused_owes_nothing_for_it() -> None:
    clock = Clock()
    handshakes = HandshakeLimit(1, 1, clock)
    handshakes.take("203.0.113.9")
    for _ in range(1_000):
        with pytest.raises(TooManyRequests):
            handshakes.take("203.0.113.9")
    clock.now += 1
    handshakes.take("203.0.113.9")


def test_the_number_of_addresses_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_bucket, "MAX_BUCKETS", 1_000)
    handshakes = HandshakeLimit(1, 1, Clock())
    for number in range(1_010):
        handshakes.take(f"2001:db8:{number // 65536:x}:{number % 65536:x}::1")
    assert len(handshakes._buckets) == 1_000


def test_a_burst_of_zero_switches_the_limit_off() -> None:
    handshakes = HandshakeLimit(1, 0, Clock())
    for _ in range(1_000):
        handshakes.take("203.0.113.9")
