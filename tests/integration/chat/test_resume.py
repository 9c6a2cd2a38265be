"""Coming back: with its cursors a client gets exactly what it missed, once, in order, or gets `recovered: false`."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.support.clients.native import Client, client
from tests.support.processes.processes import Process


async def test_a_client_that_comes_back_gets_exactly_what_it_missed(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        async with client(node.url, "bob") as bob:
            await bob.join("general")
            await alice.post("general", "heard live")
            await bob.until(lambda: bob.events("message:new"))
            cursor, epoch = bob.seqs("general")[-1], bob.connected["epoch"]
        missed = [await alice.post("general", f"missed {number}") for number in range(20)]
        async with client(node.url, "bob", {"general": cursor}, epoch=epoch) as bob:
            assert bob.connected["rooms"] == {"general": {"recovered": True, "head": missed[-1]["seq"]}}
            await alice.post("general", "live again")
            await bob.until(lambda: bob.events("message:new", content="live again"))
            assert bob.seqs("general") == list(range(cursor + 1, missed[-1]["seq"] + 2))
            kinds = [event["type"] for event in bob.heard]
            assert kinds[:3] == ["connected", "room:receipts", "message:new"]


async def test_a_gap_of_thousands_is_paged_through_while_the_room_is_busy(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        async with asyncio.TaskGroup() as posting:
            for number in range(1_500):
                posting.create_task(alice.post("general", f"old {number}"))
        late = asyncio.create_task(_keep_posting(alice))
        async with client(node.url, "alice", {"general": 0}) as again:
            assert again.connected["rooms"]["general"]["recovered"] is True
            await asyncio.wait_for(late, 60)
            await again.until(lambda: again.events("message:new", content="the last"))
            assert again.seqs("general") == list(range(1, again.seqs("general")[-1] + 1))
            assert len(again.seqs("general")) == 1_500 + 2 + 100 + 1


async def _keep_posting(alice: Client) -> None:
    for number in range(100):
        await alice.post("general", f"new {number}")
    await alice.post("general", "the last")


async def test_large_messages_are_paged_and_paced_so_that_nobody_is_called_slow(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        for number in range(60):
            await alice.post("general", f"{number:02}" + "\U0001f600" * 9_998)
        async with client(node.url, "alice", {"general": 0}) as again, client(node.url, "bob") as bob:
            await again.until(lambda: len(again.events("message:new")) == 60)
            assert again.seqs("general") == list(range(1, 63))
            await bob.join("general")
            found: list[str] = []
            more = True
            before: dict[str, int] = {}
            while more:
                page = await bob.say("message:history", roomId="general", limit=200, **before)
                found = [one["content"][:2] for one in page["messages"]] + found
                more, before = page["hasMore"], {"before": page["messages"][0]["messageId"]}
            assert found == [f"{number:02}" for number in range(60)]


async def test_who_comes_back_hears_how_far_the_others_have_read_meanwhile(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        async with client(node.url, "bob") as bob:
            await bob.join("general")
            first = (await bob.post("general", "one"))["messageId"]
            await alice.say("message:read", roomId="general", messageId=first)
            await bob.until(lambda: bob.events("message:read", userId="alice", messageId=first))
            cursor = bob.seqs("general")[-1]
        last = (await alice.post("general", "two"))["messageId"]
        await alice.say("message:read", roomId="general", messageId=last)
        async with client(node.url, "bob", {"general": cursor}) as bob:
            await bob.until(lambda: bob.events("message:new", content="two"))
            (receipts,) = bob.events("room:receipts", roomId="general")
            markers = {one["userId"]: one["messageId"] for one in receipts["receipts"]}
            assert markers == {"alice": last}


async def test_all_rooms_come_back_with_one_frame_whatever_happened_there(node: Process) -> None:
    rooms = ("still", "kicked", "readmitted", "archived", "left")
    async with client(node.url, "alice") as alice:
        async with client(node.url, "bob") as bob:
            for room in rooms:
                await alice.say("room:create", roomId=room, name=room, members=["bob"])
                await bob.join(room)
                await alice.post(room, "heard")
                await bob.until(lambda room=room: bob.events("message:new", roomId=room))  # type: ignore[misc]
            await bob.say("room:leave", roomId="left")
            await bob.until(lambda: bob.events("room:user_left", roomId="left"))
            cursors = {room: bob.seqs(room)[-1] for room in rooms}
        for room in rooms:
            await alice.post(room, "missed")
        kicked = (await alice.say("room:kick", roomId="kicked", userId="bob"))["seq"]
        await alice.post("kicked", "not for bob")
        await alice.say("room:kick", roomId="readmitted", userId="bob")
        await alice.post("readmitted", "while bob was out")
        await alice.say("room:invite", roomId="readmitted", userId="bob")
        async with client(node.url, "bob") as bob:
            await bob.join("readmitted")
        heads = {room: (await alice.post(room, "the last"))["seq"] for room in rooms}
        heads["archived"] = (await alice.say("room:archive", roomId="archived"))["seq"]
        async with client(node.url, "bob", dict(cursors)) as bob:
            told = bob.connected["rooms"]
            for room in ("still", "readmitted", "archived"):
                assert told[room] == {"recovered": True, "head": heads[room]}
                await bob.until(lambda room=room: bob.seqs(room)[-1:] == [heads[room]])  # type: ignore[misc]
                assert bob.seqs(room) == list(range(cursors[room] + 1, heads[room] + 1))
            assert told["kicked"] == {"recovered": False, "head": kicked, "reason": "not_a_member"}
            await bob.until(lambda: bob.seqs("kicked")[-1:] == [kicked])
            assert bob.seqs("kicked") == list(range(cursors["kicked"] + 1, kicked + 1))
            assert told["left"] == {"recovered": False, "head": cursors["left"], "reason": "not_a_member"}
            await bob.say("room:list")
            assert bob.seqs("left") == []


async def test_null_means_from_now_on(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        await alice.post("general", "past")
        async with client(node.url, "alice", {"general": None}) as again:
            assert again.connected["rooms"]["general"] == {"recovered": True, "head": 3}
            await again.until(lambda: again.events("room:receipts"))
            await alice.post("general", "present")
            await again.until(lambda: again.events("message:new", content="present"))
            assert again.seqs("general") == [4]


async def test_a_cursor_that_does_not_hold_is_said_so(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await alice.say("room:create", roomId="secret", name="Secret", visibility="private")
        await bob.join("general")
        left = (await bob.say("room:leave", roomId="general"))["seq"]
        await alice.post("general", "after bob")
        rooms: dict[str, int | None] = {"general": 1, "secret": 0, "missing": 5}
        async with client(node.url, "bob", rooms) as again:
            assert again.connected["rooms"] == {
                "general": {"recovered": False, "head": left, "reason": "not_a_member"},
                "secret": {"recovered": False, "reason": "room_not_found"},
                "missing": {"recovered": False, "reason": "room_not_found"},
            }
            await again.until(lambda: again.events("room:user_left", userId="bob"))
            assert again.seqs("general") == [2, 3, 4]
        for cursor, epoch in ((None, None), (left, None), (1, str(uuid4()))):
            given: dict[str, Any] = {"epoch": epoch} if epoch else {}
            async with client(node.url, "bob", {"general": cursor}, **given) as again:
                assert again.connected["rooms"]["general"]["reason"] == "not_a_member"
                await again.say("room:list")
                assert again.seqs("general") == []
        async with client(node.url, "carol", {"general": 0}) as carol:
            assert carol.connected["rooms"]["general"]["reason"] == "not_a_member"
        async with client(node.url, "alice", {"general": 99}) as again:
            assert again.connected["rooms"]["general"] == {"recovered": False, "head": 5, "reason": "ahead"}
        async with client(node.url, "alice", {"general": 1}, epoch=str(uuid4())) as again:
            assert again.connected["rooms"]["general"] == {
                "recovered": False,
                "head": 5,
                "reason": "epoch_changed",
            }
            await again.until(lambda: again.events("room:receipts"))
            await alice.post("general", "live all the same")
            await again.until(lambda: again.events("message:new", content="live all the same"))
            assert again.seqs("general") == [6]


@pytest.mark.parametrize("after", [None, 0, 5])
async def test_joining_in_the_middle_of_traffic_leaves_no_hole_and_no_double(
    node: Process, after: int | None
) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        traffic = asyncio.create_task(_keep_posting(alice))
        await alice.until(lambda: len(alice.events("message:new")) > 30)
        await bob.join("general", **({} if after is None else {"after": after}))
        await asyncio.wait_for(traffic, 60)
        await bob.until(lambda: bob.events("message:new", content="the last"))
        history = [one["messageId"] for one in bob.events("message:history")[0]["messages"]]
        live = [event["seq"] for event in bob.events("message:new")]
        both = history + live
        assert both == sorted(set(both))
        assert bob.seqs("general") == list(range(bob.seqs("general")[0], 2 + 101 + 1 + 1))
        assert not history or history[-1] == bob.seqs("general")[0] - 1 or after is not None
