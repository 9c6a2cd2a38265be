"""The prices of commands: an ordinary one costs 1, and each larger one what it is charged, within and beyond."""

import pytest

from service.errors import TooManyRequests
from service.gateway.auth.charges import Charges
from service.gateway.auth.prices import price_of_answer, price_of_bytes, price_of_command
from service.gateway.auth.rate_limit import RateLimit
from service.protocol import commands as wire
from service.protocol.acks import ReportListAck, RoomJoinAck, RoomListAck
from service.protocol.events import Invitation
from service.protocol.reports import Report
from service.runtime.token_bucket import TokenBuckets
from tests.support.clock import Clock


def send(content: str) -> wire.MessageSend:
    return wire.MessageSend(type="message:send", ref="r", room_id="general", content=content)


def create(people: int) -> wire.RoomCreate:
    members = tuple(f"u{number}" for number in range(people))
    return wire.RoomCreate(type="room:create", ref="r", name="Room", members=members)


def history(limit: int) -> wire.MessageHistory:
    return wire.MessageHistory(type="message:history", room_id="general", limit=limit)


def directory(limit: int, query: str = "") -> wire.RoomDirectory:
    return wire.RoomDirectory(type="room:directory", limit=limit, query=query)


def pins(limit: int) -> wire.MessagePins:
    return wire.MessagePins(type="message:pins", room_id="general", limit=limit)


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (send("x" * 10_000), send("<" * 1_000)),
        (send("<" * 999), send("<" * 1_000)),
        (create(9), create(10)),
        (history(50), history(51)),
        (directory(50), directory(51)),
        (pins(50), pins(51)),
    ],
)
def test_only_larger_commands_have_a_price_beside_their_bytes(within: wire.Frame, beyond: wire.Frame) -> None:
    assert price_of_command(within) == 0
    assert price_of_command(beyond) == 1


def test_the_largest_inputs_have_these_prices() -> None:
    assert [price_of_bytes(size) for size in (0, 16_383, 16_384, 128 * 1024)] == [1, 1, 2, 9]
    assert price_of_command(send("<" * 10_000)) == 10
    assert price_of_command(create(100)) == 10
    assert price_of_command(history(200)) == 3
    assert price_of_command(wire.UserFind(type="user:find", query="x")) == 1
    assert [price_of_command(directory(limit, "tea")) for limit in (50, 100)] == [3, 4]


def test_what_an_answer_holds_is_owed() -> None:
    invitation = Invitation(room_id="r", name="R", visibility="public", by="bob", at="")
    listed = wire.RoomList(type="room:list")
    for entries, price in ((49, 0), (50, 1), (1_000, 20)):
        answer = RoomListAck(rooms=[], invitations=[invitation] * entries, has_more=False)
        assert price_of_answer(listed, answer) == price
    report = Report(report_id="r", room_id="r", message_id=1, author_id="a", user_id="u", reason="", at="")
    for entries, price in ((49, 0), (50, 1), (100, 2)):
        reports = ReportListAck(reports=[report] * entries, has_more=False)
        assert price_of_answer(wire.ReportList(type="report:list", room_id="r"), reports) == price
    joined = RoomJoinAck(seq=1, at="", head=1_000, epoch="")
    for after, price in ((None, 0), (981, 0), (980, 1), (0, 50), (2_000, 0)):
        join = wire.RoomJoin(type="room:join", ref="r", room_id="general", after=after)
        assert price_of_answer(join, joined) == price


def test_a_price_is_paid_from_the_users_rate_and_from_the_addresss() -> None:
    clock = Clock()
    charges = Charges(RateLimit(20, 40, clock), TokenBuckets(100, 100, clock))
    charges.take("alice", "one", 40)
    with pytest.raises(TooManyRequests):
        charges.take("alice", "one")
    charges.take("bob", "one", 40)
    charges.take("carol", "one", 20)
    with pytest.raises(TooManyRequests):
        charges.take("carol", "one")
    charges.take("carol", "other", 20)  # the refused charge took nothing


def test_a_price_above_a_burst_costs_a_burst() -> None:
    clock = Clock()
    charges = Charges(RateLimit(20, 40, clock), TokenBuckets(100, 30, clock))
    charges.take("alice", "one", 1_000)
    with pytest.raises(TooManyRequests):
        charges.take("alice", "other")
    clock.now += 2
    charges.take("alice", "other", 1_000)


def test_what_is_owed_refuses_nothing_and_is_paid_off_first() -> None:
    clock = Clock()
    rate = RateLimit(20, 40, clock)
    charges = Charges(rate, TokenBuckets(0, 0, clock))
    charges.owe("alice", 45)
    with pytest.raises(TooManyRequests) as refused:
        charges.take("alice", "one")
    assert refused.value.data["retryAfter"] == pytest.approx(6 / 20)
    charges.owe("alice", 10_000)
    clock.now += 80 / 20
    charges.take("alice", "one", 40)
    assert rate.take_spent(10) == {"alice": 10_085}, "other nodes learn of it"
