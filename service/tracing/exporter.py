"""Exports spans to a collector, by OTLP over HTTP.

Nothing waits for the collector: spans that it does not accept in time are dropped, and the loss is logged once.
"""

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from service.tracing.traces import Traces

SEND_EVERY = 1_000
"""Milliseconds between two exports; spans that do not fit the library's queue are dropped."""

SEND_WITHIN = 2.0
"""Seconds that an export may take: as long as a stopping node can wait for it."""

log = logging.getLogger("onrecord.traces")


class _Sender(SpanExporter):
    """Exports spans; logs the first failure and the first success after it."""

    def __init__(self, url: str) -> None:
        # The library would log each failure, with the address.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(url, timeout=SEND_WITHIN)
        self._lost = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch."""
        result = self._exporter.export(spans)
        lost = result is not SpanExportResult.SUCCESS
        if lost and not self._lost:
            log.warning("traces_lost")
        elif self._lost and not lost:
            log.warning("traces_back")
        self._lost = lost
        return result

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # as it is published


def traces_to(url: str, node: str, ratio: float) -> Traces:
    """Return traces that a thread exports by OTLP over HTTP."""
    return Traces(BatchSpanProcessor(_Sender(url), schedule_delay_millis=SEND_EVERY), node, ratio)
