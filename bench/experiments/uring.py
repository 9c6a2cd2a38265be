"""Compares io_uring with `socket.send` for one frame to many sockets, in turns, as CPU time of each send.

    .venv/bin/python bench/experiments/uring.py --sockets 100 1000 9000 --pairs 25

A child process holds the other ends and reads them. Both senders do what the fan-out has to do for each slot: look the
descriptor up in the table of direct sockets, send, and find out who did not get the whole frame.

- `send` is the loop of `service.realtime.room_subscribers`.
- `uring` fills the descriptors and the length into submission queue entries that are otherwise constant, with one strided
  assignment for each field, and enters the kernel once for `--chunk` sockets. Successful requests post no completion.

Each pair sends `--sends` frames by each sender in random order; the result is the median of the ratios of a pair with
a 95 % bootstrap interval.
"""

import argparse
import ctypes
import mmap
import os
import random
import resource
import selectors
import socket
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from service.runtime.direct_sockets import NOWHERE, DirectSockets

SETUP, ENTER = 425, 426
OFF_SQ_RING, OFF_SQES = 0, 0x10000000
SUBMIT_ALL, SINGLE_ISSUER, DEFER_TASKRUN = 1 << 7, 1 << 12, 1 << 13
FEAT_SINGLE_MMAP, FEAT_CQE_SKIP = 1 << 0, 1 << 11
OP_SEND = 26
CQE_SKIP_SUCCESS = 1 << 6
MSG_WAITALL, MSG_DONTWAIT, MSG_NOSIGNAL = 0x100, 0x40, 0x4000
SQE_BYTES, CQE_BYTES = 64, 16
FRAME_BYTES = 128 * 1024

libc = ctypes.CDLL(None, use_errno=True)
syscall = libc.syscall
syscall.restype = ctypes.c_long


class Params(ctypes.Structure):
    """`struct io_uring_params`."""

    _fields_ = (
        ("sq_entries", ctypes.c_uint32),
        ("cq_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("sq_thread", ctypes.c_uint32 * 2),
        ("features", ctypes.c_uint32),
        ("wq_fd", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
        # head, tail, ring_mask, ring_entries, flags, dropped, array, reserved, user_addr (two words)
        ("sq", ctypes.c_uint32 * 10),
        # head, tail, ring_mask, ring_entries, overflow, cqes, flags, reserved, user_addr (two words)
        ("cq", ctypes.c_uint32 * 10),
    )


class Ring:
    """Sends one frame to many sockets with one system call; the submission queue has `entries`."""

    def __init__(
        self, entries: int, flags: int = SUBMIT_ALL, msg_flags: int = MSG_WAITALL | MSG_DONTWAIT
    ) -> None:
        params = Params(flags=flags)
        self.fd = syscall(SETUP, entries, ctypes.byref(params))
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        assert params.features & FEAT_SINGLE_MMAP and params.features & FEAT_CQE_SKIP
        self.entries = params.sq_entries
        size = max(params.sq[6] + params.sq_entries * 4, params.cq[5] + params.cq_entries * CQE_BYTES)
        access = {"flags": mmap.MAP_SHARED | mmap.MAP_POPULATE, "prot": mmap.PROT_READ | mmap.PROT_WRITE}
        rings = mmap.mmap(self.fd, size, **access, offset=OFF_SQ_RING)
        entry_map = mmap.mmap(self.fd, params.sq_entries * SQE_BYTES, **access, offset=OFF_SQES)
        self._words = memoryview(rings).cast("I")
        self._sq_tail = params.sq[1] // 4
        self._sq_head = params.sq[0] // 4
        self._cq_head, self._cq_tail = params.cq[0] // 4, params.cq[1] // 4
        self._cq_mask, self._cqes = params.cq_entries - 1, params.cq[5] // 4
        first = params.sq[6] // 4
        self._words[first : first + self.entries] = array("I", range(self.entries))
        self._results = memoryview(rings).cast("i")
        self._buffer = mmap.mmap(-1, FRAME_BYTES)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        entry = memoryview(entry_map)
        self._fds, self._sizes = entry.cast("i")[1::16], entry.cast("I")[6::16]
        entry.cast("Q")[2::8] = array("Q", [address] * self.entries)
        entry.cast("Q")[4::8] = array("Q", range(self.entries))
        entry.cast("I")[7::16] = array("I", [msg_flags | MSG_NOSIGNAL] * self.entries)
        entry[0::64] = bytes([OP_SEND]) * self.entries
        entry[1::64] = bytes([CQE_SKIP_SUCCESS]) * self.entries
        self._entry = entry
        self._tail = 0
        self._size = -1
        self._frame: bytes | None = None
        self._enter = syscall
        self._enter.argtypes = None
        self.entered = 0

    def send(self, frame: bytes, descriptors: "array[int]") -> list[tuple[int, int]]:
        """Send to at most `entries` sockets; return position and result of those that did not get the whole frame."""
        size = len(frame)
        if frame is not self._frame:
            self._buffer[:size] = frame
            self._frame = frame
        if size != self._size:
            self._sizes[:] = array("I", [size]) * self.entries
            self._size = size
        failed: list[tuple[int, int]] = []
        done = 0
        while done < len(descriptors):
            start = self._tail & (self.entries - 1)
            count = min(len(descriptors) - done, self.entries - start)
            self._fds[start : start + count] = descriptors[done : done + count]
            self._words[self._sq_tail] = self._tail = (self._tail + count) & 0xFFFFFFFF
            submitted = syscall(ENTER, self.fd, count, 0, 0, None, 0)
            self.entered += 1
            assert submitted == count, (submitted, count)
            if self._words[self._cq_tail] != self._words[self._cq_head]:
                failed.extend((index - start + done, result) for index, result in self._completions())
            done += count
        return failed

    def _completions(self) -> list[tuple[int, int]]:
        head, tail = self._words[self._cq_head], self._words[self._cq_tail]
        found = []
        while head != tail:
            at = self._cqes + (head & self._cq_mask) * 4
            found.append((self._words[at], self._results[at + 2]))
            head = (head + 1) & 0xFFFFFFFF
        self._words[self._cq_head] = head
        return found


Failed = list[tuple[int, int]]


def by_send(sockets: DirectSockets, targets: "array[int]", frame: bytes, chunk: int) -> int:
    """Send as `RoomSubscribers._write_chunk` does; return how many did not get the whole frame."""
    size, failed = len(frame), 0
    for start in range(0, len(targets), chunk):
        for slot in range(start, min(start + chunk, len(targets))):
            taken = 0
            if (send := sockets[targets[slot]]) is not None:
                try:
                    taken = send(frame)
                except OSError:
                    taken = 0
                if taken == size:
                    continue
            failed += 1
    return failed


def by_uring(ring: Ring, open_sockets: "list[int]", targets: "array[int]", frame: bytes, chunk: int) -> int:
    """Send by the ring; `open_sockets[descriptor]` is the descriptor, or `NOWHERE` while writes are not allowed."""
    failed = 0
    for start in range(0, len(targets), chunk):
        descriptors = array("i", map(open_sockets.__getitem__, targets[start : start + chunk]))
        if NOWHERE in descriptors:
            failed += 1  # the product would take these out
        failed += len(ring.send(frame, descriptors))
    return failed


def reader(port: int, count: int, ready: int, pause: float) -> None:
    """Connect `count` sockets and read them, waiting `pause` seconds after each look."""
    with selectors.EpollSelector() as selector:
        for _ in range(count):
            end = socket.create_connection(("127.0.0.1", port))
            end.setblocking(False)
            selector.register(end, selectors.EVENT_READ)
        os.write(ready, b".")
        while True:
            for key, _ in selector.select():
                if not key.fileobj.recv(1 << 16):  # type: ignore[union-attr]
                    return
            time.sleep(pause)


def connected(count: int, pause: float) -> tuple[int, list[socket.socket]]:
    """Return the reader's process id and `count` connected sockets, without delay and not blocking."""
    ready, write = os.pipe()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        if (child := os.fork()) == 0:
            listener_port = listener.getsockname()[1]
            listener.close()
            try:
                reader(listener_port, count, write, pause)
            finally:
                os._exit(0)
        sockets = [listener.accept()[0] for _ in range(count)]
    os.read(ready, 1)
    for one in sockets:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setblocking(False)
    return child, sockets


def measured(send: Callable[[], int], sends: int, each: int, rest: float) -> float:
    """Return CPU microseconds of a send, over at least `sends` of them, with a rest after about 1,000."""
    used = done = since = 0
    while done < sends:
        before = time.thread_time_ns()
        failed = send()
        used += time.thread_time_ns() - before
        assert not failed, failed
        done, since = done + each, since + each
        if since >= 1000:
            time.sleep(rest)
            since = 0
    return used / done / 1000


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Return the median and its 95 % bootstrap interval."""
    found = sorted(statistics.median(random.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), found[int(draws * 0.025)], found[int(draws * 0.975)]


def run(count: int, given: argparse.Namespace) -> None:
    """Print one row for each variant of the ring."""
    child, ends = connected(count, given.pause)
    try:
        table, open_sockets = DirectSockets(), [NOWHERE] * (max(end.fileno() for end in ends) + 2)
        for end in ends:
            table.allow(end.fileno(), end.send)
            open_sockets[end.fileno()] = end.fileno()
        order = [end.fileno() for end in ends]
        random.shuffle(order)
        rooms = [array("i", order[at : at + given.room]) for at in range(0, count, given.room)]
        flags = SUBMIT_ALL | (SINGLE_ISSUER | DEFER_TASKRUN if given.defer else 0)
        ring = Ring(given.entries, flags)
        frames = [os.urandom(given.bytes) for _ in rooms]

        def send() -> int:
            return sum(by_send(table, room, frame, 32) for room, frame in zip(rooms, frames, strict=True))

        def uring() -> int:
            return sum(
                by_uring(ring, open_sockets, room, frame, given.chunk)
                for room, frame in zip(rooms, frames, strict=True)
            )

        pairs = []
        for sender in (send, uring):
            measured(sender, given.sends // 4, count, given.rest)
        for _ in range(given.pairs):
            found = {}
            for name, sender in random.sample([("send", send), ("uring", uring)], 2):
                found[name] = measured(sender, given.sends, count, given.rest)
                time.sleep(0.02)
            pairs.append((found["send"], found["uring"]))
        ratio, low, high = interval([ours / theirs for theirs, ours in pairs])
        send_us, uring_us = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        print(
            f"| {count} | {min(given.room, count)} | {send_us:.2f} | {uring_us:.2f} | {ratio:.3f} | {low:.3f} to {high:.3f} |",
            flush=True,
        )
        os.close(ring.fd)
    finally:
        for end in ends:
            end.close()
        os.waitpid(child, 0)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sockets", type=int, nargs="+", default=[100, 1000, 9000])
    parser.add_argument("--room", type=int, default=100, help="sockets that get the same frame")
    parser.add_argument("--chunk", type=int, default=128, help="sockets of one system call of io_uring")
    parser.add_argument("--entries", type=int, default=256)
    parser.add_argument("--bytes", type=int, default=205)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--sends", type=int, default=9000, help="of one sender in one pair")
    parser.add_argument("--rest", type=float, default=0.002, help="seconds after about 1,000 sends")
    parser.add_argument("--pause", type=float, default=0.001, help="seconds after each look of the reader")
    parser.add_argument("--defer", action="store_true", help="with DEFER_TASKRUN")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(
        "| sockets | in a room | send, us | io_uring, us | ratio | 95 % interval |\n|---|---|---|---|---|---|"
    )
    for count in given.sockets:
        run(count, given)


if __name__ == "__main__":
    main()
