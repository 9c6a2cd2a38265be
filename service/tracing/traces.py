"""Traces commands, commits, deliveries and projections.

A component reports its work when it is done; nothing waits for a span, and nothing reads one.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind

from service.eventstore.entries import CommitResult
from service.eventstore.serializer import Row
from service.tracing.contexts import Numbered, Streamed, new_trace, spans_of, within
from service.tracing.spans import Attributes, Interval, Spans, now

TROUBLE = ("unavailable", "overloaded", "projection_behind")
"""Outcomes of a command that are the server's fault."""


class Traces:
    """The traces of the process `node`; `ratio` is the share of traces that is sampled, from 0 to 1."""

    def __init__(self, processor: SpanProcessor, node: str, ratio: float) -> None:
        self._spans = Spans(processor, node, ratio)

    async def close(self) -> None:
        """Export the remaining spans."""
        await self._spans.close()

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
        if not self._spans.sampled(first):
            return
        attributes: Attributes = {"onrecord.outcome": outcome}
        if recorded:
            attributes |= _about(recorded[0], recorded[1])
        retry = recorded is not None and not fresh
        own = within(first) if retry else first
        failed = outcome in TROUBLE
        self._spans.end(
            kind, own, first if retry else None, SpanKind.SERVER, (began, now()), attributes, failed=failed
        )

    def placing(self, placed: Callable[[CommitResult], None]) -> Callable[[CommitResult], None]:
        """Wrap `placed`, which delivers a batch right after its commit, so that both are traced."""

        def traced(batch: CommitResult) -> None:
            committed = now()
            placed(batch)
            last = {(one.stream, one.seq) for one in batch.placed if one.outcome == "appended"}
            for stream, rows in batch.written.items():
                if stream.startswith("room:"):
                    self._committed(stream, rows, last, (batch.began, committed), len(batch.placed))
                    self._delivered(stream, rows, committed)

        return traced

    def hearing(self, hear: Callable[[str, list[Row]], None]) -> Callable[[str, list[Row]], None]:
        """Wrap `hear`, which delivers events that another node recorded, so that it is traced."""

        def traced(stream: str, rows: list[Row]) -> None:
            began = now()
            hear(stream, rows)
            self._delivered(stream, rows, began)

        return traced

    def projected(self, projection: str, began: float, batch: Sequence[Streamed]) -> None:
        """Trace a batch that a projection applied."""
        for event in batch:
            if event.stream.startswith("room:"):
                self._child(f"project {projection}", event.stream, event, SpanKind.CONSUMER, (began, now()))

    def _committed(
        self,
        stream: str,
        rows: Sequence[Row],
        last: set[tuple[str, int]],
        interval: Interval,
        commands: int,
    ) -> None:
        command: SpanContext | None = None
        for row in reversed(rows):
            spans = spans_of(stream, row.seq, row.at)
            command = spans.command if (stream, row.seq) in last else command
            if not self._spans.sampled(spans.commit):
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
            self._spans.end(
                "commit", spans.commit, parent, SpanKind.CLIENT, interval, attributes, links=links
            )

    def _delivered(self, stream: str, rows: Sequence[Row], began: float) -> None:
        for row in rows:
            self._child("deliver", stream, row, SpanKind.PRODUCER, (began, now()))

    def _child(self, name: str, stream: str, event: Numbered, kind: SpanKind, interval: Interval) -> None:
        commit = spans_of(stream, event.seq, event.at).commit
        if self._spans.sampled(commit):
            own = within(commit)
            self._spans.end(name, own, commit, kind, interval, _about(stream, event.seq))


def _about(stream: str, seq: int) -> Attributes:
    return {"onrecord.stream": stream, "onrecord.seq": seq}
