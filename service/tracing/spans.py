"""Spans of one process, made when they are over.

The rule: what is traced is traced everywhere or nowhere, by the id of its trace; and all spans are dated by one clock.
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

MOST_DRIFT = 50_000_000
"""Nanoseconds that the wall clock may go off from the loop's before spans follow it."""

Stretch = tuple[float, float]
"""When something began and ended, by the loop's clock."""

About = dict[str, str | int]
"""The attributes of a span."""

_SCOPE = InstrumentationScope("onrecord")
_LOW = 2**64 - 1


class Spans:
    """Makes the spans of a process, which `node` names; `ratio` is the share of what is traced, from 0 to 1."""

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

    def wanted(self, context: SpanContext) -> bool:
        """Return whether a trace is among those that are sent: by its id, so everywhere or nowhere."""
        return context.trace_id & _LOW < self._below

    def end(
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
        """Send a span that is over."""
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
        offset = time.time_ns() - int(now() * 1e9)
        if abs(offset - self._offset) > MOST_DRIFT:
            self._offset = offset


def now() -> float:
    """Return the loop's time, which spans are measured by."""
    return asyncio.get_running_loop().time()
