"""Writing by io_uring: whole, short and failed writes, and descriptors that change hands."""

import asyncio
import ctypes
import errno
import logging
import os
import socket
import subprocess
import sys
import textwrap
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from service.gateway.transport import io_uring
from service.gateway.transport.io_uring import (
    ENTRIES,
    FEWEST,
    MOST_BYTES,
    Unsupported,
    Uring,
    UringSockets,
    direct_sockets,
)
from service.gateway.websocket.write_buffer import WriteBuffer
from service.runtime.direct_sockets import DirectSockets

pytestmark = pytest.mark.needs("io_uring")


class Pairs:
    """Sockets to write to, and their peers."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.near: list[socket.socket] = []
        self.far: list[socket.socket] = []

    def add(self, count: int = 1, *, tcp: bool = False) -> "array[int]":
        """Return the descriptors of new sockets."""
        for _ in range(count):
            near, far = tcp_pair() if tcp else socket.socketpair()
            for end in (self._stack.enter_context(near), self._stack.enter_context(far)):
                end.setblocking(False)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            self.near.append(near)
            self.far.append(far)
        return array("i", [near.fileno() for near in self.near[-count:]])

    def received(self, index: int) -> bytes:
        return drained(self.far[index])


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        return listener.accept()[0], far


def drained(end: socket.socket) -> bytes:
    found = b""
    with suppress(BlockingIOError):
        while piece := end.recv(1 << 20):
            found += piece
    return found


def filled(end: socket.socket) -> int:
    """Fill the buffer of a socket; return the bytes that it took."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            count += end.send(bytes(100))
    return count


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def pairs(stack: ExitStack) -> Pairs:
    return Pairs(stack)


@pytest.fixture
def ring(stack: ExitStack) -> Uring:
    ring = Uring()
    stack.callback(ring.close)
    return ring


@pytest.fixture
def sockets(ring: Uring) -> UringSockets:
    return UringSockets(ring)


def allowed(sockets: DirectSockets, pairs: Pairs, count: int) -> "array[int]":
    """Return the descriptors of new sockets that may be written to."""
    descriptors = pairs.add(count)
    for near in pairs.near[-count:]:
        sockets.allow(near.fileno(), near.send)
    return descriptors


def test_every_socket_receives_every_frame_once_in_order(ring: Uring, pairs: Pairs) -> None:
    descriptors = pairs.add(ENTRIES // 2 + 22)  # which does not divide the entries: the calls wrap around
    frames = [b"%d." % number * (number + 1) for number in range(4)]
    for frame in frames:
        assert ring.send(frame, descriptors) == []
    assert all(pairs.received(index) == b"".join(frames) for index in range(len(descriptors)))


def test_more_sockets_than_entries_receive_a_frame(ring: Uring, pairs: Pairs) -> None:
    descriptors = pairs.add(2 * ENTRIES + 3)
    assert ring.send(b"frame", descriptors) == []
    assert all(pairs.received(index) == b"frame" for index in range(len(descriptors)))


@pytest.mark.parametrize("tcp", [False, True])
def test_a_short_write_reports_what_was_accepted(ring: Uring, pairs: Pairs, tcp: bool) -> None:  # noqa: FBT001
    descriptors = pairs.add(3, tcp=tcp)
    filled(pairs.near[1])
    frame = os.urandom(MOST_BYTES)
    found = dict(ring.send(frame, descriptors))
    assert set(found) == {0, 1, 2}
    assert found[1] == 0
    assert 0 < found[0] < len(frame)
    assert pairs.received(0) == frame[: found[0]]


@pytest.mark.parametrize("tcp", [False, True])
def test_nothing_is_sent_after_the_call(ring: Uring, pairs: Pairs, tcp: bool) -> None:  # noqa: FBT001
    descriptors = pairs.add(2, tcp=tcp)
    count = filled(pairs.near[0])
    assert ring.send(b"refused", descriptors) == [(0, 0)]
    assert len(pairs.received(0)) == count
    assert ring.send(b"next", descriptors[1:]) == []
    pairs.near[0].shutdown(socket.SHUT_WR)
    pairs.far[0].setblocking(True)
    assert pairs.far[0].recv(100) == b"", "the refused frame is not sent once there is room"


def test_closed_peers_and_closed_descriptors_fail_alone(ring: Uring, pairs: Pairs) -> None:
    descriptors = pairs.add(4)
    pairs.far[0].close()
    pairs.near[2].close()
    assert ring.send(b"frame", descriptors) == [(0, 0), (2, 0)]
    assert (pairs.received(1), pairs.received(3)) == (b"frame", b"frame")


def test_a_descriptor_of_a_file_fails_alone(ring: Uring, pairs: Pairs) -> None:
    descriptors = pairs.add(1)
    with Path(os.devnull).open("wb") as file:
        assert ring.send(b"frame", array("i", [file.fileno(), *descriptors])) == [(0, 0)]
    assert pairs.received(0) == b"frame"


class Interposed:
    """The system call of a ring, whose next calls `answers` replace."""

    def __init__(self, ring: Uring) -> None:
        self._real: Callable[..., int] = ring._syscall
        self.answers: list[Callable[..., int]] = []
        ring._syscall = self  # type: ignore[assignment] # a callable with the same arguments

    def __call__(self, *arguments: int) -> int:
        return self.answers.pop(0)(*arguments) if self.answers else self._real(*arguments)

    def take_only(self, count: int) -> None:
        """Let the kernel take only some of the entries of the next call, as when it has no memory for others."""
        self.answers.append(lambda number, fd, _count, *rest: self._real(number, fd, count, *rest))

    def fail(self, code: int) -> None:
        """Let the next call fail."""

        def failing(*_arguments: int) -> int:
            ctypes.set_errno(code)
            return -1

        self.answers.append(failing)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_entries_that_were_not_taken_are_taken_back(ring: Uring, pairs: Pairs, taken: int) -> None:
    descriptors = pairs.add(5)
    call = Interposed(ring)
    call.take_only(taken) if taken else call.fail(errno.EAGAIN)
    assert ring.send(b"first", descriptors) == [(index, 0) for index in range(taken, 5)]
    for index in range(taken, 5):
        pairs.near[index].close()
        pairs.far[index].close()
    other = pairs.add(5 - taken)
    assert other == descriptors[taken:], "the numbers are those of other connections now"
    assert ring.send(b"second", pairs.add(1)) == []
    assert [pairs.received(index) for index in range(taken)] == [b"first"] * taken
    assert [pairs.received(index) for index in range(5, 11 - taken)] == [b""] * (5 - taken) + [b"second"]
    assert not ring.broken


def test_a_ring_that_is_refused_later_gives_way_to_send(
    sockets: UringSockets, ring: Uring, pairs: Pairs, caplog: pytest.LogCaptureFixture
) -> None:
    descriptors = allowed(sockets, pairs, FEWEST)
    Interposed(ring).fail(errno.EPERM)
    assert sockets.write(b"1", descriptors) == [(index, 0) for index in range(FEWEST)]
    assert sockets.write(b"2", descriptors) == []
    assert all(pairs.received(index) == b"2" for index in range(FEWEST))
    assert [record.message for record in caplog.records] == ["uring_failed"]
    assert not sockets.by_ring


@pytest.mark.parametrize("count", [1, FEWEST - 1, FEWEST, 40])
@pytest.mark.parametrize("every", [1, 2, 7, 100])
def test_sockets_without_an_entry_are_not_written(
    sockets: UringSockets, pairs: Pairs, count: int, every: int
) -> None:
    descriptors = allowed(sockets, pairs, count)
    denied = set(range(0, count, every))
    for index in denied:
        sockets.deny(descriptors[index])
    assert sorted(sockets.write(b"frame", descriptors)) == [(index, 0) for index in sorted(denied)]
    assert [index for index in range(count) if not pairs.received(index)] == sorted(denied)


def test_a_frame_longer_than_the_buffer_is_written(sockets: UringSockets, pairs: Pairs) -> None:
    descriptors = allowed(sockets, pairs, FEWEST)
    frame = os.urandom(MOST_BYTES + 1)
    found = sockets.write(frame, descriptors)
    assert len(found) == FEWEST
    for index, taken in found:
        assert pairs.received(index) == frame[:taken] != b""


def test_a_descriptor_in_use_again_is_written_once_it_is_allowed(sockets: UringSockets, pairs: Pairs) -> None:
    descriptors = allowed(sockets, pairs, FEWEST)
    sockets.deny(descriptors[0])
    pairs.near[0].close()
    assert pairs.add(1)[0] == descriptors[0]
    assert sockets.write(b"to the first", descriptors) == [(0, 0)]
    assert pairs.received(FEWEST) == b""
    sockets.allow(descriptors[0], pairs.near[-1].send)
    assert sockets.write(b"to the second", descriptors) == []
    assert pairs.received(FEWEST) == b"to the second"


async def test_an_ended_connection_does_not_allow_its_descriptor_again(
    sockets: UringSockets, pairs: Pairs
) -> None:
    class Connection(WriteBuffer):
        direct_sockets = sockets

    (descriptor,) = pairs.add(1)
    loop = asyncio.get_running_loop()
    transport, connection = await loop.connect_accepted_socket(Connection, pairs.near[0])
    connection.open_writing()
    connection.put(b"open ")
    assert sockets[descriptor]
    connection.stop_writing()
    connection.put(b"ended")
    assert sockets[descriptor] is None
    assert sockets.write(b"other", array("i", [descriptor] * FEWEST)) == [
        (index, 0) for index in range(FEWEST)
    ]
    assert pairs.received(0) == b"open ended"
    transport.abort()


@pytest.mark.parametrize("missing", [socket.MSG_WAITALL, socket.MSG_DONTWAIT])
def test_a_kernel_that_reports_otherwise_is_not_used(missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_uring, "_FLAGS", io_uring._FLAGS & ~missing)
    with pytest.raises(Unsupported, match="another way"):
        io_uring.tested()


def test_off_and_other_machines_use_send(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert not direct_sockets("off").by_ring
    monkeypatch.setattr("platform.machine", lambda: "alpha")
    assert not direct_sockets("auto").by_ring
    reasons = [record.__dict__["reason"] for record in caplog.records]
    assert reasons == ["ONRECORD_URING is off", "not tried on alpha"]


FILTERED = """
    import ctypes, logging, struct, sys
    from service.gateway.transport.io_uring import direct_sockets

    logging.basicConfig(level="INFO", format="%(message)s %(reason)s")
    load, equal, answer = 0x20, 0x15, 0x06
    refuse, permit = (answer, 0, 0, 0x50001), (answer, 0, 0, 0x7FFF0000)
    lines = ((load, 0, 0, 0), (equal, 0, 1, int(sys.argv[1])), refuse, permit)
    program = b"".join(struct.pack("HBBI", *line) for line in lines)
    code = ctypes.create_string_buffer(program)
    libc = ctypes.CDLL(None)
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(code)))
    assert libc.prctl(38, 1, 0, 0, 0) == libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(filter))) == 0
    assert not direct_sockets("auto").by_ring
"""


@pytest.mark.parametrize("number", ["425", "426"])
def test_a_security_profile_that_refuses_leads_to_send(number: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FILTERED), number]
    found: Any = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert found.stderr.startswith("uring_off ")
    assert "Operation not permitted" in found.stderr
