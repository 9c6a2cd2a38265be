"""Makes the spans of one process when they end.

Invariant: a trace is sampled in every process or in none, by its id; and all spans of a process use one clock.
"""

import asyncio
import time
from collections.abc import Sequence
from importlib.metadata import version

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind
from opentelemetry.trace.status import Status, StatusCode

MAX_DRIFT = 50_000_000
"""Nanoseconds by which the wall clock may drift from the loop's before spans follow it."""

Interval = tuple[float, float]
"""Start and end by the loop's clock."""

Attributes = dict[str, str | int]
"""The attributes of a span."""

_SCOPE = InstrumentationScope("onrecord")
_LOW = 2**64 - 1


class Spans:
    """The spans of the process `node`; `ratio` is the share of traces that is sampled, from 0 to 1."""

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

    def sampled(self, context: SpanContext) -> bool:
        """Return whether a trace is sampled."""
        return context.trace_id & _LOW < self._below

    def end(
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
        """Update the offset between the wall clock and the loop's, if it has changed.

        All spans share one offset: measured for each span, it would vary by the time between the readings of the two
        clocks, and a child could begin before its parent.
        """
        offset = time.time_ns() - int(now() * 1e9)
        if abs(offset - self._offset) > MAX_DRIFT:
            self._offset = offset


def now() -> float:
    """Return the loop's time, in which spans are measured."""
    return asyncio.get_running_loop().time()
