"""Compares io_uring with `socket.send` for one frame to many sockets, in turns, as CPU time of each send.

    .venv/bin/python bench/experiments/uring.py --sockets 100 1000 9000 --pairs 25

A child process holds the other ends and reads them. Both senders do what the fan-out has to do for each slot: look the
descriptor up in the table of direct sockets, send, and find out who did not get the whole frame.

- `send` is the loop of `service.runtime.direct_sockets`.
- `uring` is `service.gateway.transport.io_uring`: one system call for `--chunk` sockets.

Each pair sends `--sends` frames by each sender in random order; the result is the median of the ratios of a pair with
a 95 % bootstrap interval.
"""

import argparse
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
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.lifetime import supervised
from service.gateway.transport.io_uring import UringSockets, tested
from service.runtime.direct_sockets import DirectSockets


def written(sockets: DirectSockets, rooms: "Sequence[array[int]]", frames: Sequence[bytes]) -> int:
    """Write a frame to each room, as `RoomSubscribers` does; return how many sockets did not accept all of it."""
    failed = 0
    for room, frame in zip(rooms, frames, strict=True):
        for start in range(0, len(room), sockets.chunk):
            failed += len(sockets.write(frame, room[start : start + sockets.chunk]))
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
        order = [end.fileno() for end in ends]
        random.shuffle(order)
        rooms = [array("i", order[at : at + given.room]) for at in range(0, count, given.room)]
        frames = [os.urandom(given.bytes) for _ in rooms]
        ring = UringSockets(tested())
        plain = DirectSockets()
        ring.chunk, plain.chunk = given.chunk, 32
        for end in ends:
            plain.allow(end.fileno(), end.send)
            ring.allow(end.fileno(), end.send)
        senders = {
            "send": partial(written, plain, rooms, frames),
            "uring": partial(written, ring, rooms, frames),
        }

        pairs = []
        for sender in senders.values():
            measured(sender, given.sends // 4, count, given.rest)
        for _ in range(given.pairs):
            found = {}
            for name, sender in random.sample([*senders.items()], 2):
                found[name] = measured(sender, given.sends, count, given.rest)
                time.sleep(0.02)
            pairs.append((found["send"], found["uring"]))
        ratio, low, high = interval([ours / theirs for theirs, ours in pairs])
        send_us, uring_us = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        row = (
            f"{count:,}",
            f"{min(given.room, count):,}",
            f"{send_us:.2f}",
            f"{uring_us:.2f}",
            f"{ratio:.3f}",
        )
        print(f"| {' | '.join(row)} | {low:.3f} to {high:.3f} |", flush=True)
        ring.close()
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
    parser.add_argument("--bytes", type=int, default=205)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--sends", type=int, default=9000, help="of one sender in one pair")
    parser.add_argument("--rest", type=float, default=0.002, help="seconds after about 1,000 sends")
    parser.add_argument("--pause", type=float, default=0.001, help="seconds after each look of the reader")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(
        "| sockets | in a room | send, us | io_uring, us | ratio | 95 % interval |\n|---|---|---|---|---|---|"
    )
    for count in given.sockets:
        run(count, given)


if __name__ == "__main__":
    sys.exit(supervised(main))
