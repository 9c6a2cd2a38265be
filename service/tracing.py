"""Traces by OpenTelemetry: what became of a command, from its frame over the commit and every node to the read models.

Nothing is carried from one process to the next. Everybody who handles an event knows its stream, its seq and when it
was recorded, and from these the ids of its trace and of the two spans that others hang on are derived; so neither the
stored format nor a message of the bus has a place for them, and all agree by themselves on what is traced at all.

    message:send      the door: from the frame to the ack (the root)
      commit          the node that recorded it
        deliver       each node that wrote it to clients
        project       each read model

The rule: a span is made when it is over, and only for what is traced. Who traces nothing does not even import this.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from importlib.metadata import version
from random import getrandbits
from typing import NamedTuple, Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from service.log.append import Batch
from service.log.mapper import Row

SEND_EVERY = 1_000
"""Milliseconds between two sendings; what waits longer than the library's queue is dropped."""

MOST_DRIFT = 50_000_000
"""Nanoseconds that the wall clock may go off from the loop's before spans follow it."""

SEND_WITHIN = 2.0
"""Seconds that a sending may take: as long as a stopping node can wait for it."""

TROUBLE = ("unavailable", "overloaded", "projection_behind")
"""Outcomes of a command that are our fault."""

Stretch = tuple[float, float]
"""When something began and ended, by the loop's clock."""

About = dict[str, str | int]
"""The attributes of a span."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCOPE = InstrumentationScope("onrecord")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_LOW = 2**64 - 1

log = logging.getLogger("onrecord.traces")


class Numbered(Protocol):
    """An event that has its place: a row of the bus, or one that was read."""

    @property
    def seq(self) -> int:
        """Its number in its stream."""

    @property
    def at(self) -> datetime:
        """When it was recorded."""


class Spans(NamedTuple):
    """The contexts of an event's command and commit, the same for everybody."""

    command: SpanContext
    commit: SpanContext


def spans_of(stream: str, seq: int, at: datetime) -> Spans:
    """Derive the contexts of an event. Its time makes it another's in another installation, and after a restore."""
    microseconds = (at - _EPOCH) // timedelta(microseconds=1)
    digest = blake2b(f"{stream}|{seq}|{microseconds}".encode(), digest_size=32).digest()
    trace = int.from_bytes(digest[:16])
    command, commit = int.from_bytes(digest[16:24]), int.from_bytes(digest[24:])
    return Spans(_context(trace, command), _context(trace, commit))


class Traces:
    """The traces of one process, which `node` names; `ratio` is the share of what is traced, from 0 to 1."""

    def __init__(self, processor: SpanProcessor, node: str, ratio: float) -> None:
        self._processor = processor
        self._below = int(ratio * (_LOW + 1))
        self._offset = 0
        self._resource = Resource(
            {"service.name": "onrecord", "service.instance.id": node, "service.version": version("onrecord")}
        )

    async def close(self) -> None:
        """Send what there is."""
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
        """Trace a command that is answered now; `recorded` is the last event of it, `fresh` whether it is new."""
        first = spans_of(*recorded).command if recorded else _context(getrandbits(128), getrandbits(64))
        if not self._traced(first):
            return
        about: About = {"onrecord.outcome": outcome}
        if recorded:
            about |= _about(recorded[0], recorded[1])
        retry = recorded is not None and not fresh
        own = _context(first.trace_id, getrandbits(64)) if retry else first
        failed = outcome in TROUBLE
        self._end(kind, own, first if retry else None, SpanKind.SERVER, (began, _now()), about, failed=failed)

    def placing(self, placed: Callable[[Batch], None]) -> Callable[[Batch], None]:
        """Return what does as `placed`, which delivers a batch right after its commit, and traces both."""

        def traced(batch: Batch) -> None:
            committed = _now()
            placed(batch)
            last = {(one.stream, one.seq) for one in batch.placed if one.outcome == "appended"}
            for stream, rows in batch.written.items():
                if stream.startswith("room:"):
                    self._committed(stream, rows, last, (batch.began, committed), len(batch.placed))
                    self._delivered(stream, rows, committed)

        return traced

    def hearing(self, hear: Callable[[str, list[Row]], None]) -> Callable[[str, list[Row]], None]:
        """Return what does as `hear`, which delivers what another node recorded, and traces it."""

        def traced(stream: str, rows: list[Row]) -> None:
            began = _now()
            hear(stream, rows)
            self._delivered(stream, rows, began)

        return traced

    def projected(self, projection: str, began: float, batch: Sequence["Streamed"]) -> None:
        """Trace a batch that a projection has applied."""
        for event in batch:
            if event.stream.startswith("room:"):
                self._child(f"project {projection}", event.stream, event, SpanKind.CONSUMER, (began, _now()))

    def _committed(
        self,
        stream: str,
        rows: Sequence[Row],
        last: set[tuple[str, int]],
        stretch: Stretch,
        commands: int,
    ) -> None:
        command: SpanContext | None = None
        for row in reversed(rows):
            spans = spans_of(stream, row.seq, row.at)
            command = spans.command if (stream, row.seq) in last else command
            if not self._traced(spans.commit):
                continue
            about: About = {
                **_about(stream, row.seq),
                "onrecord.topic": row.topic,
                "onrecord.batch.commands": commands,
            }
            # One command may record several events: its span is in the trace of the last, and the others point there.
            own = command is not None and command.trace_id == spans.commit.trace_id
            links = [] if own or command is None else [Link(command)]
            parent = command if own else None
            self._end("commit", spans.commit, parent, SpanKind.CLIENT, stretch, about, links=links)

    def _delivered(self, stream: str, rows: Sequence[Row], began: float) -> None:
        for row in rows:
            self._child("deliver", stream, row, SpanKind.PRODUCER, (began, _now()))

    def _child(self, name: str, stream: str, event: Numbered, kind: SpanKind, stretch: Stretch) -> None:
        commit = spans_of(stream, event.seq, event.at).commit
        if self._traced(commit):
            own = _context(commit.trace_id, getrandbits(64))
            self._end(name, own, commit, kind, stretch, _about(stream, event.seq))

    def _traced(self, context: SpanContext) -> bool:
        """Return whether a trace is among those that are sent: by its id, so everywhere or nowhere."""
        return context.trace_id & _LOW < self._below

    def _end(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        stretch: Stretch,
        about: About,
        *,
        links: Sequence[Link] = (),
        failed: bool = False,
    ) -> None:
        self._follow_the_wall()
        span = ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            about,
            links=links,
            kind=kind,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=self._offset + int(stretch[0] * 1e9),
            end_time=self._offset + int(stretch[1] * 1e9),
            instrumentation_scope=_SCOPE,
        )
        self._processor.on_end(span)

    def _follow_the_wall(self) -> None:
        """Set how far the wall clock is ahead of the loop's, where that has changed.

        One offset for all spans: taken anew for each, two that began together would be told apart by the time between
        two looks at two clocks, and a child could begin before its parent.
        """
        offset = time.time_ns() - int(_now() * 1e9)
        if abs(offset - self._offset) > MOST_DRIFT:
            self._offset = offset


class Streamed(Numbered, Protocol):
    """An event that knows its stream."""

    @property
    def stream(self) -> str:
        """The stream's name."""


class _Sender(SpanExporter):
    """Sends spans, and says once when that does not succeed, and when it does again."""

    def __init__(self, url: str) -> None:
        # The library would say it for every batch, with the address.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(url, timeout=SEND_WITHIN)
        self._lost = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send."""
        result = self._exporter.export(spans)
        lost = result is not SpanExportResult.SUCCESS
        if lost and not self._lost:
            log.warning("traces_lost")
        elif self._lost and not lost:
            log.warning("traces_back")
        self._lost = lost
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # as it is published


def traces_to(url: str, node: str, ratio: float) -> Traces:
    """Return traces that are sent by OTLP over HTTP, by a thread of their own."""
    return Traces(BatchSpanProcessor(_Sender(url), schedule_delay_millis=SEND_EVERY), node, ratio)


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=False, trace_flags=_SAMPLED)


def _about(stream: str, seq: int) -> About:
    return {"onrecord.stream": stream, "onrecord.seq": seq}


def _now() -> float:
    return asyncio.get_running_loop().time()
