"""The benchmark still knows how to speak to the servers: small workloads, and a count of everything."""

import pytest
from websockets.asyncio.client import connect

from bench import candidates
from bench.candidates import Candidate
from bench.measure.generator import Figures
from bench.report.results import Round
from bench.server_run import server_run
from bench.workloads import Churn, Fixed, Highest, Pace, Storm, Workload
from bench.world import fixtures
from service.embedded import Servers

pytestmark = pytest.mark.needs("cc")

SHAPE = fixtures.Shape(people=40, rooms=4)
PACE = Pace(step=0.2, final=0.3, narrow=1, tries=1, fixed=0.5)


def measure(candidate: Candidate, servers: Servers, *workloads: Workload) -> list[Round]:
    with server_run(candidate, servers, SHAPE, posters=3, look=0.1) as run:
        return [workload.measure(run, PACE) for workload in workloads]


def counts(found: Round) -> tuple[int | None, int | None, int | None]:
    return found.row.lost, found.row.duplicated, found.row.reordered


async def test_the_c_limit_speaks_websockets(servers: Servers) -> None:
    with candidates.LIMIT.running(servers, SHAPE) as running:
        async with connect(f"ws://127.0.0.1:{running.port}/ws") as one:  # which checks Sec-WebSocket-Accept
            await one.send('{"type":"room:join","roomId":"room7","userId":"robin"}')
            assert await one.recv() == '{"type":"joined"}'
            await one.send('{"type":"message:send","ref":"r-1","roomId":"room7","content":"hello"}')
            assert await one.recv() == '{"type":"message:new","ref":"r-1","roomId":"room7","content":"hello"}'
            assert await one.recv() == '{"type":"ack","ref":"r-1"}'


@pytest.mark.needs("node", "npm")
@pytest.mark.parametrize("candidate", candidates.PEERS_IN_ORDER, ids=lambda candidate: candidate.name)
def test_every_peer_delivers_all_and_answers_all(candidate: Candidate, servers: Servers) -> None:
    (found,) = measure(candidate, servers, Fixed("small", SHAPE, rate=40))
    assert counts(found) == (0, 0, 0)
    assert found.more["step"]["acked"] == 20
    assert found.row.server == candidate.name


@pytest.mark.parametrize("candidate", [candidates.LIMIT_JOINED, candidates.ONRECORD_SOCKETIO])
def test_every_message_comes_once_and_in_order(candidate: Candidate, servers: Servers) -> None:
    (found,) = measure(candidate, servers, Fixed("small", SHAPE, rate=40))
    assert counts(found) == (0, 0, 0)
    step = found.more["step"]
    assert (step["posts"], step["acked"], step["deliveries"], step["refused"]) == (20, 20, 200, {})


def test_clients_with_cursors_get_exactly_what_they_missed(servers: Servers) -> None:
    small, storms, churns = (
        Fixed("small", SHAPE, rate=40),
        Storm("storm", SHAPE),
        Churn("churn", SHAPE, least=80),
    )
    fixed, storm, churn = measure(candidates.ONRECORD, servers, small, storms, churns)
    assert (churn.row.connections, list(map(len, churn.more["rss_kib"]))) == (80, [3])
    assert counts(fixed) == counts(storm) == (0, 0, 0)
    assert storm.row.connections == SHAPE.people - SHAPE.rooms
    assert set(storm.cpu) == {"server", "postgres", "projector", "generator"}


def test_two_nodes_and_redis_are_measured_as_one_server(servers: Servers) -> None:
    (found,) = measure(candidates.ONRECORD_TWO, servers, Fixed("small", SHAPE, rate=40))
    assert counts(found) == (0, 0, 0)
    assert set(found.cpu) == {"server", "postgres", "redis", "projector", "generator"}


class UpTo(Highest):
    """Any rate passes up to one, however busy the machine is."""

    def _passes(self, figures: Figures) -> bool:
        return bool(figures["planned"] <= 4)


def test_the_row_is_that_of_the_highest_rate_that_passed(servers: Servers) -> None:
    (found,) = measure(candidates.LIMIT, servers, UpTo("search", SHAPE, limit_ms=60_000.0, start=10.0))
    steps = found.more["steps"]
    assert [step["rate"] for step in steps] == [10, 20, 40, 40, 30, 30, 20]
    assert counts(found) == (0, 0, 0)
