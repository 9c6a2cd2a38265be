"""A collector gets one trace of a message: from its frame, over the commit, through both nodes, to the read model."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from service.embedded import Servers
from tests.support.clients.native import client
from tests.support.environment import environment
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database

WORDS = "nothing of this is in a trace"


class Collector:
    """What was sent: spans, each with the node that sent it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self.bodies = b""

    def take(self, body: bytes) -> None:
        self.bodies += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {one.key: one.value.string_value for one in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += [(names["service.instance.id"], span) for span in scope.spans]

    def of(self, trace: bytes) -> dict[tuple[str, str], Any]:
        """Return the spans of a trace by node and name."""
        return {(node, span.name): span for node, span in self.spans if span.trace_id == trace}


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """Give a collector, and its address."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_about: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector, f"http://127.0.0.1:{server.server_port}/v1/traces"
        finally:
            server.shutdown()
            thread.join()


async def test_a_message_is_one_trace_from_its_frame_to_the_read_model(
    database: Database, servers: Servers
) -> None:
    with collecting() as (collector, url):
        env = environment(database, ONRECORD_TRACES_URL=url, ONRECORD_NODE="projector")
        async with (
            two_nodes(database, servers, ONRECORD_TRACES_URL=url) as (one, other),
            running(env, "project", "run"),
            client(one.url, "alice", name=WORDS) as alice,
            client(other.url, "bob") as bob,
        ):
            await alice.join("general")
            await bob.join("general")
            sent = await alice.post("general", WORDS)
            await bob.until(lambda: bob.events("message:new"))
            wanted = {("one", "message:send"), ("one", "commit"), ("one", "deliver"), ("other", "deliver")}
            wanted.add(("projector", "project messages"))
            async with asyncio.timeout(60):
                while not wanted <= trace_of(collector, sent["seq"]).keys():
                    await asyncio.sleep(0.05)
    spans = trace_of(collector, sent["seq"])
    root, commit = spans["one", "message:send"], spans["one", "commit"]
    assert root.parent_span_id == b""
    assert commit.parent_span_id == root.span_id
    for name in wanted - {("one", "message:send"), ("one", "commit")}:
        assert spans[name].parent_span_id == commit.span_id, name
    assert root.start_time_unix_nano <= commit.start_time_unix_nano <= commit.end_time_unix_nano
    assert commit.end_time_unix_nano <= root.end_time_unix_nano
    assert WORDS.encode() not in collector.bodies
    assert b"alice" not in collector.bodies


def trace_of(collector: Collector, seq: int) -> dict[tuple[str, str], Any]:
    """Return the trace of the message with a number."""
    for _, span in list(collector.spans):
        about = {one.key: one.value.int_value for one in span.attributes}
        if span.name == "message:send" and about.get("onrecord.seq") == seq:
            return collector.of(span.trace_id)
    return {}


async def test_that_the_extra_is_missing_is_said_in_a_sentence(database: Database, tmp_path: Path) -> None:
    stub = tmp_path / "opentelemetry"
    stub.mkdir()
    (stub / "__init__.py").write_text("")  # stands before the installed one
    env = environment(database, ONRECORD_TRACES_URL="http://127.0.0.1:9/v1/traces", PYTHONPATH=str(tmp_path))
    for command in (("serve",), ("project", "run")):
        code, _, words = await run(env, *command, afresh=True)  # which reads PYTHONPATH
        assert code == 2
        assert "pip install 'onrecord[otel]'" in words
