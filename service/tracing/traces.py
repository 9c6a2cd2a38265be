"""Traces commands, commits, deliveries and projections, and exports the spans by OTLP over HTTP.

A component reports its work when it is done. Nothing waits for the collector: spans that it does not accept in time are
dropped, and the loss is logged once.

Invariant: a trace is sampled in every process or in none, by its id; and all spans of a process use one clock.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind
from opentelemetry.trace.status import Status, StatusCode

from service.domain.events import Recorded
from service.eventstore.entries import CommitResult
from service.eventstore.serializer import PeerRow
from service.tracing.contexts import new_trace, spans_of, within

TROUBLE = ("unavailable", "overloaded", "projection_behind")
"""Outcomes of a command that are the server's fault."""

MAX_DRIFT = 50_000_000
"""Nanoseconds by which the wall clock may drift from the monotonic one before spans follow it."""

EXPORT_INTERVAL = 1_000
"""Milliseconds between two exports; spans that do not fit the library's queue are dropped."""

EXPORT_TIMEOUT = 2.0
"""Seconds that an export may take: as long as a stopping node can wait for it."""

Interval = tuple[float, float]
"""Start and end by `time.monotonic`."""

Attributes = dict[str, str | int]
"""The attributes of a span."""

_SCOPE = InstrumentationScope("onrecord")
_LOW = 2**64 - 1

log = logging.getLogger("onrecord.traces")


class Traces:
    """The traces of the process `node`; `ratio` is the share of traces that is sampled, from 0 to 1."""

    def __init__(self, processor: SpanProcessor, node: str, ratio: float) -> None:
        self._processor = processor
        self._below = int(ratio * (_LOW + 1))
        self._offset = 0
        self._resource = Resource(
            {"service.name": "onrecord", "service.instance.id": node, "service.version": version("onrecord")}
        )

    async def close(self) -> None:
        """Export the remaining spans."""
        await asyncio.to_thread(self._processor.shutdown)

    def command(
        self,
        kind: str,
        outcome: str,
        began: float,
        recorded: tuple[str, int, datetime] | None,
        *,
        fresh: bool,
    ) -> None:
        """Trace a command that is answered now; `recorded` is its last event, `fresh` is false for a retry."""
        first = spans_of(*recorded).command if recorded else new_trace()
        if not self._is_sampled(first):
            return
        attributes: Attributes = {"onrecord.outcome": outcome}
        if recorded:
            attributes |= _about(recorded[0], recorded[1])
        retry = recorded is not None and not fresh
        own = within(first) if retry else first
        parent, failed = first if retry else None, outcome in TROUBLE
        self._end(kind, own, parent, SpanKind.SERVER, (began, time.monotonic()), attributes, failed=failed)

    def committed(self, batch: CommitResult, delivering: float) -> None:
        """Trace a batch that this node committed and has delivered; `delivering` is when the delivery began."""
        last = {(entry.stream, entry.seq) for entry in batch.results if entry.outcome == "appended"}
        for stream, rows in batch.written.items():
            if stream.startswith("room:"):
                self._committed(stream, rows, last, (batch.began, delivering), len(batch.results))
                self.delivered(stream, rows, delivering)

    def delivered(self, stream: str, rows: Sequence[PeerRow], began: float) -> None:
        """Trace events that this node has delivered."""
        for row in rows:
            self._child("deliver", stream, row, SpanKind.PRODUCER, (began, time.monotonic()))

    def projected(self, projection: str, began: float, batch: Sequence[Recorded]) -> None:
        """Trace a batch that a projection applied."""
        for event in batch:
            if event.stream.startswith("room:"):
                self._child(
                    f"project {projection}", event.stream, event, SpanKind.CONSUMER, (began, time.monotonic())
                )

    def _committed(
        self,
        stream: str,
        rows: Sequence[PeerRow],
        last: set[tuple[str, int]],
        interval: Interval,
        commands: int,
    ) -> None:
        command: SpanContext | None = None
        for row in reversed(rows):
            spans = spans_of(stream, row.seq, row.at)
            command = spans.command if (stream, row.seq) in last else command
            if not self._is_sampled(spans.commit):
                continue
            attributes: Attributes = {
                **_about(stream, row.seq),
                "onrecord.topic": row.topic,
                "onrecord.batch.commands": commands,
            }
            # One command may record several events: its span is in the trace of the last, and the others link to it.
            own = command is not None and command.trace_id == spans.commit.trace_id
            links = [] if own or command is None else [Link(command)]
            parent = command if own else None
            self._end("commit", spans.commit, parent, SpanKind.CLIENT, interval, attributes, links=links)

    def _child(
        self, name: str, stream: str, event: PeerRow | Recorded, kind: SpanKind, interval: Interval
    ) -> None:
        commit = spans_of(stream, event.seq, event.at).commit
        if self._is_sampled(commit):
            self._end(name, within(commit), commit, kind, interval, _about(stream, event.seq))

    def _is_sampled(self, context: SpanContext) -> bool:
        return context.trace_id & _LOW < self._below

    def _end(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        interval: Interval,
        attributes: Attributes,
        *,
        links: Sequence[Link] = (),
        failed: bool = False,
    ) -> None:
        """Export a span that has ended."""
        self._follow_wall_clock()
        span = ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            links=links,
            kind=kind,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=self._offset + int(interval[0] * 1e9),
            end_time=self._offset + int(interval[1] * 1e9),
            instrumentation_scope=_SCOPE,
        )
        self._processor.on_end(span)

    def _follow_wall_clock(self) -> None:
        """Update the offset between the wall clock and the monotonic one, if it has changed.

        All spans share one offset. If it were measured for each span, it would vary by the time between the two
        readings, and a child could begin before its parent.
        """
        offset = time.time_ns() - int(time.monotonic() * 1e9)
        if abs(offset - self._offset) > MAX_DRIFT:
            self._offset = offset


class _LoggingExporter(SpanExporter):
    """Exports spans; logs the first failure and the first success after it."""

    def __init__(self, url: str) -> None:
        # The library would log each failure, with the address.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(url, timeout=EXPORT_TIMEOUT)
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch."""
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            log.warning("traces_lost")
        elif self._failing and not failed:
            log.warning("traces_back")
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # as it is published


def traces_to(url: str, node: str, ratio: float) -> Traces:
    """Return traces that a thread exports by OTLP over HTTP."""
    processor = BatchSpanProcessor(_LoggingExporter(url), schedule_delay_millis=EXPORT_INTERVAL)
    return Traces(processor, node, ratio)


def _about(stream: str, seq: int) -> Attributes:
    return {"onrecord.stream": stream, "onrecord.seq": seq}
