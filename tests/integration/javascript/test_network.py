"""A client whose network fails: nothing is missed, and nothing is sent twice."""

from pathlib import Path

import pytest

from tests.support.clients.native import client as native
from tests.support.environment import environment
from tests.support.javascript.driver import Failed, client, joined
from tests.support.javascript.package import Package
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.servers.proxies import Proxy
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("node", "npm"), pytest.mark.timeout(300)]

Network = tuple[Proxy, str]


def stored(place: Path) -> list[Path]:
    """The keys of the clients' storage that have messages; the other one is their index."""
    return list(place.glob("*%3A*%3A*%3A*"))


async def test_two_clients_chat(either: Package, node: Process) -> None:
    async with joined(either, node.url) as alice, joined(either, node.url, "bob") as bob:
        sent = await alice.ask("send", room="general", content="Hello, Bob")
        assert [line["value"] for line in alice.events("message")] == [
            {"messageId": sent["messageId"], "seq": sent["seq"], "userId": "alice", "content": "Hello, Bob"}
        ]
        await bob.until(lambda: bob.events("message"))
        await bob.ask("send", room="general", content="Hello, Alice", replyTo=sent["messageId"])
        await until(lambda: alice.events("message")[1:])
        assert await alice.messages() == await bob.messages()
        await alice.ask("edit", room="general", messageId=sent["messageId"], content="Hello, Robert")
        assert await alice.contents() == ["Hello, Robert", "Hello, Alice"]
        await alice.ask("react", room="general", messageId=sent["messageId"], emoji="👍")
        await alice.ask("delete", room="general", messageId=sent["messageId"])
        assert await alice.contents() == [None, "Hello, Alice"]
        await bob.until(lambda: len(bob.events("change")) >= 5)
        await bob.ask("typing", room="general")
        await alice.until(lambda: alice.events("typing", room="general"))
        await bob.ask("read", room="general", messageId=sent["messageId"])
        await alice.until(lambda: alice.events("receipt"))
        assert alice.states == bob.states == ["connecting", "connected"]


async def test_a_refused_message_is_shown_as_failed(either: Package, node: Process) -> None:
    async with joined(either, node.url) as alice:
        with pytest.raises(Failed) as refused:
            await alice.ask("send", room="general", content="<script>")
        assert (refused.value.code, refused.value.retryable) == ("unsafe_content", False)
        (shown,) = await alice.messages()
        assert shown["failed"] is True
        with pytest.raises(Failed) as too_large:
            await alice.ask("send", room="general", content="x" * 200_000)
        assert too_large.value.code == "message_too_long"
        assert alice.states == ["connecting", "connected"]


@pytest.mark.usefixtures("projector")
async def test_a_cut_after_each_send_leaves_one_message_each(either: Package, network: Network) -> None:
    proxy, url = network
    async with joined(either, url) as alice:
        sent = []
        for number in range(20):
            sent.append(alice.begin("send", room="general", content=f"m{number}"))
            while not (shown := await alice.messages())[-1].get("pending") and len(shown) <= number:
                pass
            proxy.cut()
        seqs = [(await future)["seq"] for future in sent]
        assert seqs == sorted(set(seqs))
        assert await alice.contents() == [f"m{number}" for number in range(20)]
        async with joined(either, url, "bob") as bob:
            assert await bob.contents() == [f"m{number}" for number in range(20)]


async def test_a_client_in_a_black_hole_comes_back_without_a_hole(
    either: Package, node: Process, network: Network
) -> None:
    proxy, url = network
    async with joined(either, url) as alice, native(node.url, "bob") as bob:
        await bob.join("general")
        proxy.hold()
        for number in range(60):
            await bob.post("general", f"m{number}")
        sending = alice.begin("send", room="general", content="mine")
        await alice.ask("clock", skip=20)  # no answer
        await alice.until(lambda: "reconnecting" in alice.states)
        proxy.cut()
        await proxy.restore()
        await sending
        await alice.until(lambda: len(alice.events("message")) >= 61)
        assert await alice.contents() == [*(f"m{number}" for number in range(60)), "mine"]
        assert alice.events("reset") == []


async def test_asleep_for_an_hour_level_again_without_a_hole(
    either: Package, node: Process, network: Network
) -> None:
    proxy, url = network
    async with joined(either, url) as alice, native(node.url, "bob") as bob:
        await bob.join("general")
        proxy.hold()  # the device sleeps, and the server's bytes go nowhere
        for number in range(200):
            await bob.post("general", f"m{number}")
        proxy.cut()
        await proxy.restore()
        await alice.ask("clock", skip=3600)
        await alice.until(lambda: len(alice.events("message")) >= 200)
        assert await alice.contents() == [f"m{number}" for number in range(200)]


async def test_a_reload_between_send_and_ack_leaves_one_message(
    either: Package, network: Network, place: Path
) -> None:
    proxy, url = network
    async with joined(either, url, storage=place / "kept") as alice:
        await alice.ask("send", room="general", content="first")
        proxy.hold()
        for content in ("second", "third"):
            alice.begin("send", room="general", content=content)
        assert [line["content"] for line in await alice.messages()] == ["first", "second", "third"]
        await alice.kill()
    await proxy.restore()
    async with joined(either, url, storage=place / "kept") as again:
        await until(lambda: settled(again))
        assert await again.contents() == ["first", "second", "third"]
    assert stored(place) == []


async def settled(alice: object) -> bool:
    """Whether a client has three messages on the record and none pending."""
    shown = await alice.messages()  # type: ignore[attr-defined] # a client
    return len(shown) == 3 and not any(line.get("pending") for line in shown)


async def test_closing_returns_at_once_and_the_next_instance_sends(
    either: Package, network: Network, place: Path
) -> None:
    proxy, url = network
    async with joined(either, url, storage=place / "kept") as alice:
        proxy.hold()
        sending = alice.begin("send", room="general", content="kept")
        await alice.ask("close")
        with pytest.raises(Failed) as ended:
            await sending
        assert (ended.value.code, ended.value.retryable) == ("closed", True)
        assert alice.states[-1] == "closed"
        await proxy.restore()
        async with joined(either, url, storage=place / "kept") as again:
            await until(again.contents)
            assert await again.contents() == ["kept"]


async def test_two_tabs_with_one_storage_send_each_message_once(
    either: Package, network: Network, place: Path
) -> None:
    proxy, url = network
    async with (
        joined(either, url, storage=place / "kept") as one,
        joined(either, url, storage=place / "kept") as other,
    ):
        for number in range(10):
            proxy.hold()
            futures = [
                tab.begin("send", room="general", content=f"{name}{number}")
                for name, tab in (("a", one), ("b", other))
            ]
            await one.messages()
            await other.messages()
            proxy.cut()
            await proxy.restore()
            for future in futures:
                await future
        sent = await one.contents()
        for name in "ab":
            assert [content for content in sent if content.startswith(name)] == [
                f"{name}{n}" for n in range(10)
            ]
        assert len(sent) == 20
    assert stored(place) == []


async def test_a_client_survives_a_restart_of_the_server(either: Package, database: Database) -> None:
    env = environment(database)
    async with running(env, "serve") as node:
        port = node.address.rsplit(":", 1)[1]
        async with joined(either, node.url) as alice:
            await alice.ask("send", room="general", content="before")
            assert await node.stop() == 0
            await alice.until(lambda: alice.states[-1] == "reconnecting")
            sending = alice.begin("send", room="general", content="meantime")
            async with running(env | {"ONRECORD_PORT": port}, "serve"):
                await sending
                assert await alice.contents() == ["before", "meantime"]
                assert alice.states == ["connecting", "connected", "reconnecting", "connected"]


async def test_a_burst_past_the_rate_arrives_complete_and_in_order(
    either: Package, database: Database
) -> None:
    env = environment(database, ONRECORD_RATE_BURST="5", ONRECORD_RATE_PER_SECOND="20")
    async with running(env, "serve") as node, joined(either, node.url) as alice:
        for future in [alice.begin("send", room="general", content=f"m{number}") for number in range(40)]:
            await future
        assert await alice.contents() == [f"m{number}" for number in range(40)]


async def test_a_wrong_token_ends_the_attempts(either: Package, node: Process) -> None:
    async with client(either, node.url, token="nonsense") as stranger:
        with pytest.raises(Failed) as refused:
            await stranger.ask("connect")
        assert (refused.value.code, refused.value.retryable) == ("token_invalid", False)
        assert stranger.states == ["connecting", "closed"]
