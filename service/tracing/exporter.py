"""Spans on their way to whoever collects them, by OTLP over HTTP.

The rule: nobody waits for a collector. What it does not take in time is dropped, and that is said once.
"""

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from service.tracing.traces import Traces

SEND_EVERY = 1_000
"""Milliseconds between two sendings; what waits longer than the library's queue is dropped."""

SEND_WITHIN = 2.0
"""Seconds that a sending may take: as long as a stopping node can wait for it."""

log = logging.getLogger("onrecord.traces")


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
