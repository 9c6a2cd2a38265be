"""The budget of unfinished input: its total, the share of an address, and what a newcomer has."""

import logging
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.transport.client_address import ClientAddresses
from service.gateway.transport.receive_budget import LOG_EVERY, SHARE, Account, ReceiveBudget
from tests.support.clock import Clock

TOTAL = 64_000
PROXY = "10.0.0.1"


def budget(clock: Clock | None = None) -> ReceiveBudget:
    return ReceiveBudget(TOTAL, ClientAddresses([PROXY]), clock or Clock())


def account(receiving: ReceiveBudget, peer: str | None) -> Account:
    return receiving.account(peer, lambda: None)


def fill(one: Account, step: int = 100) -> int:
    """Hold as much as there is room for."""
    while one.hold(one.held + step):
        pass
    return one.held


def test_an_address_has_an_eighth_over_all_its_connections() -> None:
    receiving = budget()
    accounts = [account(receiving, "192.0.2.1") for _ in range(3)]
    assert accounts[0].hold(TOTAL // SHARE - 100)
    assert accounts[1].hold(100)
    assert not accounts[2].hold(1)
    assert (receiving.held, receiving.refused) == (TOTAL // SHARE, 1)
    accounts[0].release()
    assert accounts[2].hold(100)
    assert account(receiving, "192.0.2.2").hold(TOTAL // SHARE)


def test_one_network_of_ipv6_is_one_address() -> None:
    receiving = budget()
    assert account(receiving, "2001:db8::1").hold(TOTAL // SHARE)
    assert not account(receiving, "2001:db8::2").hold(1)
    assert account(receiving, "2001:db8:0:1::1").hold(1)


@pytest.mark.parametrize("count", [1, 7, 8, 20, 100])
def test_however_many_addresses_fill_it_a_newcomer_has_as_much_as_each(count: int) -> None:
    receiving = budget()
    attackers = [account(receiving, f"192.0.2.{number}") for number in range(count)]
    for _ in range(10):
        for attacker in attackers:
            fill(attacker)
    assert receiving.held <= TOTAL
    newcomer = fill(account(receiving, "198.51.100.1"))
    assert newcomer >= min(TOTAL // SHARE, TOTAL // (count + 1)) // 100 * 100
    assert receiving.held <= TOTAL


def test_the_largest_connection_of_the_heaviest_address_gives_way() -> None:
    receiving, closed = budget(), list[str]()
    for number in range(8):
        for name, size in (("small", 3_000), ("large", TOTAL // SHARE - 3_000)):
            one = receiving.account(f"192.0.2.{number}", partial(closed.append, f"{name} {number}"))
            assert one.hold(size)
    assert account(receiving, "198.51.100.1").hold(1_000)
    assert closed == ["large 0"]
    assert receiving.held == TOTAL - (TOTAL // SHARE - 3_000) + 1_000
    assert not account(receiving, "192.0.2.5").hold(1), "it has its share"


def test_a_client_behind_a_proxy_counts_by_its_own_address() -> None:
    receiving = budget()
    accounts = [account(receiving, PROXY) for _ in range(3)]
    assert accounts[0].hold(TOTAL // 4), "a proxy has a larger share"
    for number, one in enumerate(accounts[:2]):
        one.is_from([(b"x-forwarded-for", f"192.0.2.{number}".encode())])
        assert one.held == 0
        assert one.hold(TOTAL // SHARE)
        assert not one.hold(TOTAL // SHARE + 1)
    accounts[2].is_from([(b"x-forwarded-for", b"192.0.2.1")])
    assert not accounts[2].hold(1)


def test_a_header_from_no_proxy_is_not_believed() -> None:
    receiving = budget()
    for number in range(2):
        one = account(receiving, "203.0.113.7")
        one.is_from([(b"x-forwarded-for", f"192.0.2.{number}".encode())])
        assert one.hold(TOTAL // SHARE) is (number == 0)


def test_nothing_is_counted_of_an_identified_client() -> None:
    receiving = budget()
    one = account(receiving, "192.0.2.1")
    one.head = 10
    assert one.hold(90)
    assert receiving.held == 100
    one.identified = True
    assert receiving.held == 0
    assert one.hold(10 * TOTAL)
    assert receiving.held == 0
    one.identified = False
    assert not one.hold(10 * TOTAL)
    assert one.hold(5)
    assert receiving.held == 15


def test_refusals_are_logged_at_most_once_in_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    receiving = budget(clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(1_000):
            assert not account(receiving, "192.0.2.1").hold(TOTAL)
        clock.now += LOG_EVERY
        assert not account(receiving, "192.0.2.1").hold(TOTAL)
    assert [vars(record)["refused"] for record in caplog.records] == [1, 1_000]
    assert receiving.refused == 1_001


ADDRESSES = [PROXY, "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", None]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, TOTAL))))
def test_the_sums_hold_after_any_sequence(steps: list[tuple[int, int]]) -> None:
    receiving = budget()
    accounts = [account(receiving, ADDRESSES[number % len(ADDRESSES)]) for number in range(10)]
    for number, size in steps:
        if size < 0:
            accounts[number].release()
        else:
            accounts[number].hold(size)
        assert receiving.held == sum(one.held for one in accounts) <= TOTAL
    for one in accounts:
        one.release()
    assert receiving.held == 0
    assert not receiving._by_address
