"""Counts the work between two turns of an event loop, so that a test of fairness needs no clock."""

import asyncio


class Turns:
    """`most` is the largest count of one turn, `total` the sum of all."""

    def __init__(self) -> None:
        self.most = self.total = self._in_turn = 0

    def did(self) -> None:
        """Count one piece of work in the present turn."""
        if not self._in_turn:
            asyncio.get_running_loop().call_soon(self._over)
        self._in_turn += 1
        self.total += 1
        self.most = max(self.most, self._in_turn)

    def _over(self) -> None:
        self._in_turn = 0
