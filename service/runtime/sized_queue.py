"""A first-in, first-out queue that is bounded in items and in the bytes that they hold."""

import asyncio
from typing import Generic, TypeVar

_T = TypeVar("_T")


class SizedQueue(Generic[_T]):
    """At most `most` items, which hold at most `most_bytes` together; a single item always fits into an empty queue."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._queue: asyncio.Queue[tuple[_T, int]] = asyncio.Queue(most)
        self._most_bytes = most_bytes
        self.held = 0

    def __len__(self) -> int:
        return self._queue.qsize()

    def put(self, item: _T, size: int) -> bool:
        """Add an item that holds `size` bytes; return False, without adding it, if the queue is full."""
        if self._queue.full() or (self.held and self.held + size > self._most_bytes):
            return False
        self._queue.put_nowait((item, size))
        self.held += size
        return True

    async def get(self) -> _T:
        """Wait for the first item, and remove it."""
        item, size = await self._queue.get()
        self.held -= size
        return item
