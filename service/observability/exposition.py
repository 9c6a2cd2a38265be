"""Renders a scrape: each source writes its numbers to a `Sheet`, which is encoded as Prometheus' text.

Sources are read during the scrape, in the event loop's thread and without an await, so that all numbers are of one
moment and no lock is needed.
"""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.observability.catalogue import CATALOGUE
from service.observability.histogram import Histogram

_FAMILIES: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Sheet:
    """The numbers of one scrape; only metrics of the catalogue can be written."""

    def __init__(self) -> None:
        self.families: dict[str, Any] = {}

    def put(self, name: str, value: float | Histogram, *labels: str) -> None:
        """Write a metric's number, with the values of its labels."""
        family = self.families.get(name)
        if family is None:
            known = CATALOGUE[name]
            family = self.families[name] = _FAMILIES[known.kind](name, known.meaning, labels=known.labels)
        if isinstance(value, Histogram):
            family.add_metric(labels, buckets=_cumulative(value), sum_value=value.sum)
        else:
            family.add_metric(labels, value)


Source = Callable[[Sheet], None]
"""Writes the numbers of a component."""


class Exposition(Collector):
    """The metrics of one process, in a registry of its own."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def describe(self) -> Iterable[Family]:
        """Return nothing: the catalogue already keeps names unique."""
        return ()

    def collect(self) -> Iterable[Family]:
        """Return the numbers of every source."""
        sheet = Sheet()
        for source in self._sources:
            source(sheet)
        return sheet.families.values()

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the text in the format that an `Accept` header requests, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    buckets, total = [], 0
    for bound, count in zip([*histogram.bounds, float("inf")], histogram.counts, strict=True):
        total += count
        buckets.append((floatToGoString(bound), float(total)))  # type: ignore[no-untyped-call] # as it is published
    return buckets
