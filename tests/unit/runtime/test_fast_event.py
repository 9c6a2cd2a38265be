"""A fast event wakes every waiter when it is set."""

import asyncio

from service.runtime.fast_event import FastEvent


async def test_an_open_gate_holds_nobody() -> None:
    gate = FastEvent()
    assert gate.is_set()
    await gate.wait()


async def test_all_who_wait_are_let_through_though_it_shuts_again_at_once() -> None:
    gate = FastEvent()
    gate.clear()
    waiting = [asyncio.create_task(gate.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    gate.set()
    gate.clear()
    await asyncio.gather(*waiting)
    late = asyncio.create_task(gate.wait())
    await asyncio.sleep(0)
    assert not late.done()
    gate.set()
    await late


async def test_who_gives_up_is_in_nobodys_way() -> None:
    gate = FastEvent()
    gate.clear()
    first, second = (asyncio.create_task(gate.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.set()
    await second
    assert first.cancelled()
