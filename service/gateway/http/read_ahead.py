"""The bytes of a connection that are read and not parsed yet.

One read of the socket stays in one piece until all of it is parsed. Cutting pieces off a buffer would copy the rest,
and leave the heap with gaps of all sizes.
"""


class ReadAhead:
    """A buffer that is filled by reads and emptied in pieces."""

    __slots__ = ("_data", "_start")

    def __init__(self) -> None:
        self._data = b""
        self._start = 0

    def __bool__(self) -> bool:
        return bool(self._data)

    @property
    def held(self) -> int:
        """Bytes of memory that the buffer takes, with its part of the heap's gaps: a half more, as measured."""
        return len(self._data) * 3 // 2

    def add(self, data: bytes) -> None:
        """Add the bytes of one read."""
        self._data = self._data[self._start :] + data if self._data else data
        self._start = 0

    def take(self, size: int) -> bytes:
        """Remove and return the first bytes, at most `size`."""
        piece = self._data[self._start : self._start + size]
        self._start += len(piece)
        if self._start == len(self._data):
            self.clear()
        return piece

    def clear(self) -> None:
        """Drop all bytes."""
        self._data = b""
        self._start = 0
