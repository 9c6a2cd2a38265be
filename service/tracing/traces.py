"""What is traced: commands as they are answered, commits, deliveries, and what the read models applied.

The rule: whoever did the work says so when it is done; nothing waits for its trace, and nothing asks for one.
"""

from collections.abc import Sequence
from datetime import datetime

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind

from service.eventstore.entries import CommitResult
from service.eventstore.serializer import Row
from service.tracing.contexts import Numbered, Streamed, of_nobody, spans_of, within
from service.tracing.spans import About, Spans, Stretch, now

TROUBLE = ("unavailable", "overloaded", "projection_behind")
"""Outcomes of a command that are our fault."""


class Traces:
    """The traces of one process, which `node` names; `ratio` is the share of what is traced, from 0 to 1."""

    def __init__(self, processor: SpanProcessor, node: str, ratio: float) -> None:
        self._spans = Spans(processor, node, ratio)

    async def close(self) -> None:
        """Send what there is."""
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
        """Trace a command that is answered now; `recorded` is the last event of it, `fresh` whether it is new."""
        first = spans_of(*recorded).command if recorded else of_nobody()
        if not self._spans.wanted(first):
            return
        about: About = {"onrecord.outcome": outcome}
        if recorded:
            about |= _about(recorded[0], recorded[1])
        retry = recorded is not None and not fresh
        own = within(first) if retry else first
        failed = outcome in TROUBLE
        self._spans.end(
            kind, own, first if retry else None, SpanKind.SERVER, (began, now()), about, failed=failed
        )

    def committed(self, batch: CommitResult, delivering: float) -> None:
        """Trace a batch that this node committed and has delivered; `delivering` is when the delivery began."""
        last = {(one.stream, one.seq) for one in batch.placed if one.outcome == "appended"}
        for stream, rows in batch.written.items():
            if stream.startswith("room:"):
                self._committed(stream, rows, last, (batch.began, delivering), len(batch.placed))
                self.delivered(stream, rows, delivering)

    def delivered(self, stream: str, rows: Sequence[Row], began: float) -> None:
        """Trace events that this node has delivered."""
        for row in rows:
            self._child("deliver", stream, row, SpanKind.PRODUCER, (began, now()))

    def projected(self, projection: str, began: float, batch: Sequence[Streamed]) -> None:
        """Trace a batch that a projection has applied."""
        for event in batch:
            if event.stream.startswith("room:"):
                self._child(f"project {projection}", event.stream, event, SpanKind.CONSUMER, (began, now()))

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
            if not self._spans.wanted(spans.commit):
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
            self._spans.end("commit", spans.commit, parent, SpanKind.CLIENT, stretch, about, links=links)

    def _child(self, name: str, stream: str, event: Numbered, kind: SpanKind, stretch: Stretch) -> None:
        commit = spans_of(stream, event.seq, event.at).commit
        if self._spans.wanted(commit):
            own = within(commit)
            self._spans.end(name, own, commit, kind, stretch, _about(stream, event.seq))


def _about(stream: str, seq: int) -> About:
    return {"onrecord.stream": stream, "onrecord.seq": seq}
