"""A queue is bounded in items and in bytes, and gives its items in order."""

from hypothesis import given
from hypothesis import strategies as st

from service.runtime.sized_queue import SizedQueue


@given(st.lists(st.integers(0, 30) | st.none(), max_size=80))
async def test_items_come_in_order_and_within_both_bounds(steps: list[int | None]) -> None:
    queue: SizedQueue[int] = SizedQueue(5, 50)
    model: list[tuple[int, int]] = []
    for number, size in enumerate(steps):
        held = sum(each for _, each in model)
        if size is None:
            if model:
                assert await queue.get() == model.pop(0)[0]
        elif queue.put(number, size):
            model.append((number, size))
            assert len(model) <= 5
            assert held + size <= 50
        else:
            assert len(model) == 5 or held + size > 50
        assert (len(queue), queue.held) == (len(model), sum(each for _, each in model))


async def test_an_item_larger_than_the_bound_fits_alone() -> None:
    queue: SizedQueue[str] = SizedQueue(5, 50)
    assert queue.put("large", 100)
    assert not queue.put("small", 1)
    assert await queue.get() == "large"
    assert queue.put("small", 1)
