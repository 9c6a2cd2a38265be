"""An event that costs a tenth of `asyncio.Event` while no task waits; every connection has several."""

import asyncio


class FastEvent:
    """Has the interface of `asyncio.Event`, and is set at first."""

    __slots__ = ("_set", "_waiters")

    def __init__(self) -> None:
        self._set = True
        self._waiters: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and wake every waiting task."""
        self._set = True
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Reset it."""
        self._set = False

    async def wait(self) -> None:
        """Return when it is set, or was set since the call."""
        if self._set:
            return
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        await waiter
