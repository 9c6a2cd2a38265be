"""What a scrape is answered: each source writes its numbers on a fresh sheet, which becomes Prometheus' text.

The rule: the parts are read when somebody asks, in the loop's own thread, between two of its steps; so a scrape sees
one moment, and nothing is locked.
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
    """The numbers of one scrape; only what is in the catalogue can be put on it."""

    def __init__(self) -> None:
        self.families: dict[str, Any] = {}

    def put(self, name: str, value: float | Histogram, *labels: str) -> None:
        """Write a number, with the values of the metric's labels."""
        family = self.families.get(name)
        if family is None:
            known = CATALOGUE[name]
            family = self.families[name] = _FAMILIES[known.kind](name, known.meaning, labels=known.labels)
        if isinstance(value, Histogram):
            family.add_metric(labels, buckets=_cumulative(value), sum_value=value.sum)
        else:
            family.add_metric(labels, value)


Source = Callable[[Sheet], None]
"""Writes the numbers of a part."""


class Exposition(Collector):
    """The metrics of one process, in a registry of its own."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def describe(self) -> Iterable[Family]:
        """Say nothing beforehand: the catalogue has every name once."""
        return ()

    def collect(self) -> Iterable[Family]:
        """Ask every source."""
        sheet = Sheet()
        for source in self._sources:
            source(sheet)
        return sheet.families.values()

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the text in the format that an `Accept` header asks for, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    buckets, so_far = [], 0
    for bound, count in zip([*histogram.bounds, float("inf")], histogram.counts, strict=True):
        so_far += count
        buckets.append((floatToGoString(bound), float(so_far)))  # type: ignore[no-untyped-call] # as it is published
    return buckets
