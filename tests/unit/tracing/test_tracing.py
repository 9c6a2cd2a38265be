"""Traces: ids that every process derives alike, and the spans made from them."""

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.domain.events import MessagePosted, Recorded
from service.eventstore.entries import AppendResult, CommitResult
from service.eventstore.serializer import PeerRow
from service.tracing import Traces, spans_of, traces_to

AT = datetime(2026, 11, 26, 12, 0, 0, 123456, tzinfo=UTC)
ROOM = "room:general"


class Kept:
    """Traces, and the spans that were sent."""

    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.traces = Traces(SimpleSpanProcessor(self._exporter), "one", ratio)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


def row(seq: int) -> PeerRow:
    return PeerRow(seq, seq, AT, "alice", MessagePosted.TOPIC, "message:new", b"{}", None)


def read(seq: int) -> Recorded:
    event = MessagePosted(author="alice", content="hello", ref=str(uuid4()))
    return Recorded(ROOM, seq, seq, f"message:{seq}", AT, "alice", event)


def batch(*rows: PeerRow, last: int) -> CommitResult:
    placed = [AppendResult(outcome="appended", stream=ROOM, seq=last, at=AT)]
    return CommitResult(placed, {}, {ROOM: list(rows)})


def parent_of(span: ReadableSpan) -> Any:
    return span.parent.span_id if span.parent else None


async def test_message_is_one_trace_from_frame_to_read_model() -> None:
    one, other, projector = Kept(), Kept(), Kept()
    one.traces.committed(batch(row(3), last=3), 0.0)
    one.traces.command("message:send", "ok", 0.0, (ROOM, 3, AT), fresh=True)
    other.traces.delivered(ROOM, [row(3)], 0.0)
    projector.traces.projected("messages", 0.0, [read(3)])
    [root], [commit] = one.named("message:send"), one.named("commit")
    assert parent_of(root) is None
    assert parent_of(commit) == root.context.span_id
    for [child] in (one.named("deliver"), other.named("deliver"), projector.named("project messages")):
        assert parent_of(child) == commit.context.span_id
    traces = {span.context.trace_id for kept in (one, other, projector) for span in kept.spans}
    assert len(traces) == 1
    assert dict(root.attributes or {}) == {
        "onrecord.outcome": "ok",
        "onrecord.stream": ROOM,
        "onrecord.seq": 3,
    }


async def test_events_of_one_command_have_traces_of_their_own_that_point_to_it() -> None:
    kept = Kept()
    kept.traces.committed(batch(row(1), row(2), last=2), 0.0)
    earlier, later = kept.named("commit")[::-1]
    assert parent_of(earlier) is None
    assert [link.context for link in earlier.links] == [spans_of(ROOM, 2, AT).command]
    assert parent_of(later) == spans_of(ROOM, 2, AT).command.span_id


async def test_a_retry_is_a_span_in_the_trace_of_the_first_try() -> None:
    kept = Kept()
    kept.traces.command("message:send", "ok", 0.0, (ROOM, 3, AT), fresh=False)
    [retry] = kept.spans
    assert retry.context.trace_id == spans_of(ROOM, 3, AT).command.trace_id
    assert parent_of(retry) == spans_of(ROOM, 3, AT).command.span_id


async def test_refusal_has_its_own_trace_and_only_server_faults_are_errors() -> None:
    kept = Kept()
    kept.traces.command("message:send", "not_a_member", 0.0, None, fresh=False)
    kept.traces.command("message:send", "unavailable", 0.0, None, fresh=False)
    refused, failed = kept.spans
    assert refused.context.trace_id != failed.context.trace_id
    assert (refused.status.is_ok, failed.status.is_ok) == (True, False)


async def test_streams_that_are_no_rooms_are_not_traced() -> None:
    kept = Kept()
    kept.traces.committed(CommitResult([], {}, {"session:alice": [row(1)]}), 0.0)
    kept.traces.projected(
        "read_receipts", 0.0, [msgspec.structs.replace(read(1), stream="reader:general:alice")]
    )
    assert kept.spans == []


async def test_a_share_is_traced_by_all_or_by_none() -> None:
    some, others = Kept(0.5), Kept(0.5)
    rows = [row(seq) for seq in range(1, 200)]
    some.traces.delivered(ROOM, rows, 0.0)
    others.traces.projected("messages", 0.0, [read(seq) for seq in range(1, 200)])
    assert 50 < len(some.spans) < 150
    assert {span.context.trace_id for span in some.spans} == {span.context.trace_id for span in others.spans}
    nothing, everything = Kept(0.0), Kept(1.0)
    for kept in (nothing, everything):
        kept.traces.delivered(ROOM, rows, 0.0)
    assert (len(nothing.spans), len(everything.spans)) == (0, len(rows))


@given(st.text(), st.integers(1, 2**62), st.datetimes(min_value=datetime(2020, 1, 1)), st.integers(1, 10**6))  # noqa: DTZ001 - the zone is added
def test_ids_are_usable_and_of_one_event_alone(stream: str, seq: int, at: datetime, later: int) -> None:
    at = at.replace(tzinfo=UTC)
    spans = spans_of(stream, seq, at)
    assert spans == spans_of(stream, seq, at)
    assert all(context.is_valid for context in spans)
    others = (spans_of(stream, seq + 1, at), spans_of(stream, seq, at - timedelta(microseconds=later)))
    assert spans.command.trace_id not in {other.command.trace_id for other in others}


async def test_a_collector_that_is_not_there_is_said_once_and_holds_nothing_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    traces = traces_to("http://127.0.0.1:9/v1/traces", "one", 1.0)
    traces.command("message:send", "ok", 0.0, (ROOM, 3, AT), fresh=True)
    await traces.close()
    assert [record.message for record in caplog.records] == ["traces_lost"]


def test_whoever_traces_nothing_does_not_even_import_what_does() -> None:
    # Of the library a part is there whenever it is installed: redis-py imports it.
    program = (
        "import sys, service.node.server, service.cli.projections; sys.exit('service.tracing' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_spans_of_one_node_keep_order_whatever_the_clock_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread may run between two reads of two clocks."""
    kept = Kept()
    late = iter(range(0, 10_000_000, 1_000_000))
    true = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: true() + next(late))
    now = asyncio.get_running_loop().time()
    kept.traces.command("message:send", "ok", now - 2.0, None, fresh=True)
    kept.traces.projected("messages", now - 2.0, [read(3)])
    kept.traces.command("message:read", "ok", now - 1.0, None, fresh=True)
    first, second, third = (span.start_time or 0 for span in kept.spans)
    assert first == second
    assert abs(third - first - 1_000_000_000) < 1_000  # of a float


async def test_spans_follow_a_wall_clock_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    now = asyncio.get_running_loop().time()
    kept.traces.command("message:send", "ok", now, None, fresh=True)
    true = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: true() + 3_600_000_000_000)
    kept.traces.command("message:send", "ok", now, None, fresh=True)
    before, after = (span.start_time or 0 for span in kept.spans)
    assert abs(after - before - 3_600_000_000_000) < 60_000_000_000
