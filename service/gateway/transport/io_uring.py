"""Writes a frame to many sockets with one system call (io_uring), where the kernel allows it.

A ring's entries are constant but for the descriptors and the length of the frame, which is in one buffer. Writing to
100 sockets is one strided assignment of their descriptors, and one call. Only failures and short writes answer.

Invariant: when the call returns, the kernel has finished with all descriptors and with the buffer. Each entry has
`MSG_DONTWAIT`, without which the kernel would wait for a full socket and write from the buffer later, and
`MSG_WAITALL`, without which a short write would count as success and not answer. The kernel looks descriptors up during
the call, and no other code of this thread runs between their choice and its end; so a descriptor that was closed and
used again never receives the frame of another connection. `tested` tries all of this before the ring is used.
"""

import contextlib
import ctypes
import errno
import logging
import mmap
import os
import platform
import socket
import sys
from array import array

from service.runtime.direct_sockets import NOWHERE, DirectSockets, Send, Unwritten

ENTRIES = 256
MOST_BYTES = 128 * 1024
"""Size of the buffer; longer frames are written to each socket."""

FEWEST = 8
"""Sockets below which a system call for each is cheaper."""

MACHINES = ("x86_64", "aarch64")
"""The architectures on which the numbers of the system calls were checked."""

_SETUP, _ENTER = 425, 426
_SUBMIT_ALL = 1 << 7
_SINGLE_MMAP, _CQE_SKIP = 1 << 0, 1 << 11
_OFF_RINGS, _OFF_ENTRIES = 0, 0x10000000
_OP_SEND, _SKIP_SUCCESS = 26, 1 << 6
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_WAITALL | socket.MSG_NOSIGNAL
_WORDS_OF_ENTRY, _WORDS_OF_RESULT = 16, 4
_TRANSIENT = (errno.EAGAIN, errno.EBUSY, errno.ENOMEM, errno.EINTR)

log = logging.getLogger("onrecord.uring")


class Unsupported(Exception):
    """The kernel, the architecture or a security profile does not allow io_uring; the message says which."""


class _Params(ctypes.Structure):
    """`struct io_uring_params`; the offsets are those of the fields of each queue in the mapped memory."""

    _fields_ = (
        ("sq_entries", ctypes.c_uint32),
        ("cq_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("sq_thread", ctypes.c_uint32 * 2),
        ("features", ctypes.c_uint32),
        ("wq_fd", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
        ("sq_offsets", ctypes.c_uint32 * 10),  # head, tail, mask, entries, flags, dropped, array
        ("cq_offsets", ctypes.c_uint32 * 10),  # head, tail, mask, entries, overflow, cqes
    )


class Uring:
    """A submission and a completion queue, and the buffer of the frame."""

    def __init__(self, entries: int = ENTRIES) -> None:
        if platform.machine() not in MACHINES or sys.maxsize < 1 << 32:
            raise Unsupported(f"not tried on {platform.machine()}")
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.argtypes = (ctypes.c_long,) * 7
        self._syscall.restype = ctypes.c_long
        params = _Params(flags=_SUBMIT_ALL)
        self._fd = self._syscall(_SETUP, entries, ctypes.addressof(params), 0, 0, 0, 0)
        if self._fd < 0:
            raise Unsupported(f"io_uring_setup: {os.strerror(ctypes.get_errno())}")
        try:
            self._map(params)
        except BaseException:
            self.close()
            raise
        self._frame: bytes | None = None
        self._size = -1
        self.broken = ""
        """Why the kernel has refused a call; the ring is of no use then."""

    def close(self) -> None:
        """Release the ring; the memory goes with this object."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _map(self, params: _Params) -> None:
        """Map the memory that is shared with the kernel."""
        if params.features & (needed := _SINGLE_MMAP | _CQE_SKIP) != needed:
            raise Unsupported("the kernel is older than 5.17")
        self._entries = params.sq_entries
        first = params.sq_offsets[6] // 4
        self._results_at, self._results_mask = params.cq_offsets[5] // 4, params.cq_entries - 1
        self._sq_head, self._sq_tail = params.sq_offsets[0] // 4, params.sq_offsets[1] // 4
        self._cq_head, self._cq_tail = params.cq_offsets[0] // 4, params.cq_offsets[1] // 4
        size = 4 * max(first + self._entries, self._results_at + params.cq_entries * _WORDS_OF_RESULT)
        rings = memoryview(mmap.mmap(self._fd, size, offset=_OFF_RINGS))
        self._words, self._signed = rings.cast("I"), rings.cast("i")
        self._words[first : first + self._entries] = array("I", range(self._entries))
        entries = memoryview(mmap.mmap(self._fd, self._entries * 64, offset=_OFF_ENTRIES))
        self._buffer = mmap.mmap(-1, MOST_BYTES)
        self._fill(entries, ctypes.addressof(ctypes.c_char.from_buffer(self._buffer)))

    def _fill(self, entries: memoryview, address: int) -> None:
        """Write the fields of `struct io_uring_sqe` that never change."""
        count = self._entries
        entries[0::64] = bytes((_OP_SEND,)) * count
        entries[1::64] = bytes((_SKIP_SUCCESS,)) * count
        entries.cast("Q")[2::8] = array("Q", (address,)) * count
        entries.cast("Q")[4::8] = array("Q", range(count))  # `user_data`
        entries.cast("I")[7::_WORDS_OF_ENTRY] = array("I", (_FLAGS,)) * count
        self._descriptors = entries.cast("i")[1::_WORDS_OF_ENTRY]
        self._sizes = entries.cast("I")[6::_WORDS_OF_ENTRY]

    def send(self, frame: bytes, descriptors: "array[int]") -> list[Unwritten]:
        """Write a frame of at most `MOST_BYTES`; return the sockets that did not accept all of it."""
        self._load(frame)
        unwritten: list[Unwritten] = []
        done, total = 0, len(descriptors)
        while done < total:
            head = self._words[self._sq_head]  # the kernel has taken everything before it
            start = head % self._entries
            count = min(total - done, self._entries - start)
            self._descriptors[start : start + count] = descriptors[done : done + count]
            submitted = self._submit(head, count)
            if self._words[self._cq_tail] != self._words[self._cq_head]:
                unwritten += [(done + index - start, max(0, result)) for index, result in self._answers()]
            unwritten += [(done + index, 0) for index in range(submitted, count)]
            done += count
        return unwritten

    def _load(self, frame: bytes) -> None:
        if frame is not self._frame:
            self._frame, size = frame, len(frame)
            self._buffer[:size] = frame
            if size != self._size:
                self._size = size
                self._sizes[:] = array("I", (size,)) * self._entries

    def _submit(self, head: int, count: int) -> int:
        """Return how many of `count` entries the kernel has taken."""
        self._words[self._sq_tail] = (head + count) & 0xFFFFFFFF
        submitted: int = self._syscall(_ENTER, self._fd, count, 0, 0, 0, 0)
        if submitted == count:
            return count
        # Take back the others: the next call would write to descriptors that may be those of other connections by then.
        self._words[self._sq_tail] = self._words[self._sq_head]
        if submitted < 0 and (code := ctypes.get_errno()) not in _TRANSIENT:
            self.broken = os.strerror(code)
        return max(0, submitted)

    def _answers(self) -> list[tuple[int, int]]:
        """Return the entry and the result of each request that did not succeed."""
        words, head, tail = self._words, self._words[self._cq_head], self._words[self._cq_tail]
        answers = []
        while head != tail:
            at = self._results_at + (head & self._results_mask) * _WORDS_OF_RESULT
            answers.append((words[at], self._signed[at + 2]))
            head = (head + 1) & 0xFFFFFFFF
        words[self._cq_head] = head
        return answers


class UringSockets(DirectSockets):
    """Direct sockets that are written by a ring where that is cheaper."""

    chunk = 128

    def __init__(self, ring: Uring) -> None:
        super().__init__()
        self._ring: Uring | None = ring
        self._allowed = [NOWHERE]
        """By descriptor: itself while there is an entry for it, otherwise `NOWHERE`."""

    @property
    def by_ring(self) -> bool:
        """See `DirectSockets.by_ring`."""
        return self._ring is not None

    def close(self) -> None:
        """See `DirectSockets.close`."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def allow(self, descriptor: int, send: Send | None) -> None:
        """See `DirectSockets.allow`."""
        super().allow(descriptor, send)
        if descriptor == NOWHERE:
            return
        if (missing := len(self) - len(self._allowed)) > 0:
            self._allowed.extend([NOWHERE] * missing)
        self._allowed[descriptor] = NOWHERE if send is None else descriptor

    def write(self, frame: bytes, descriptors: "array[int]") -> list[Unwritten]:
        """See `DirectSockets.write`."""
        ring = self._ring
        if ring is None or len(descriptors) < FEWEST or len(frame) > MOST_BYTES:
            return super().write(frame, descriptors)
        allowed = array("i", map(self._allowed.__getitem__, descriptors))
        if allowed.count(NOWHERE) * 4 > len(allowed):
            return super().write(frame, descriptors)
        unwritten = ring.send(frame, allowed)
        if ring.broken:
            log.error("uring_failed", extra={"reason": ring.broken})
            self.close()
        return unwritten


def direct_sockets(mode: str) -> DirectSockets:
    """Return the sockets of a node: with a ring if `mode` is `auto` and the kernel allows it. Logs which."""
    reason = "ONRECORD_URING is off"
    if mode == "auto":
        try:
            ring = tested()
        except Unsupported as error:
            reason = str(error)
        else:
            log.info("uring_on")
            return UringSockets(ring)
    log.info("uring_off", extra={"reason": reason})
    return DirectSockets()


def tested() -> Uring:
    """Return a ring that keeps the invariant of this module.

    Raises:
        Unsupported: there is none here.
    """
    try:
        ring = Uring()
    except OSError as error:
        raise Unsupported(str(error)) from error
    try:
        _check(ring)
    except BaseException:
        ring.close()
        raise
    return ring


def _check(ring: Uring) -> None:
    """Raise unless whole writes are silent, and every other one is reported at once with what was written."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        number = array("i", (near.fileno(),))
        found = [ring.send(b"whole", array("i", (NOWHERE, *number)))]
        whole = _received(far)
        found += [ring.send(bytes(MOST_BYTES), number), ring.send(b"full", number)]
        part = len(_received(far))
        far.close()
        found.append(ring.send(b"closed", number))
    if ring.broken:
        raise Unsupported(f"io_uring_enter: {ring.broken}")
    if whole != b"whole" or not 0 < part < MOST_BYTES or found != [[(0, 0)], [(0, part)], [(0, 0)], [(0, 0)]]:
        raise Unsupported(f"the kernel reports writes in another way: {found}")


def _received(end: socket.socket) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return end.recv(MOST_BYTES)
    return b""
