"""What a scrape is answered, and who is: plain numbers become Prometheus' text, and only known names do."""

import gc

import httpx
import pytest
from starlette.applications import Starlette

from service.config.settings import Settings
from service.observability.catalogue import CATALOGUE, Metric
from service.observability.endpoint import is_public, metrics_route
from service.observability.exposition import Exposition, Sheet
from service.observability.histogram import Histogram
from service.observability.process import ProcessMetrics
from tests.support.http.metrics import samples


def test_a_histogram_counts_what_lies_between_its_bounds() -> None:
    histogram = Histogram((1, 10))
    for value in (0.5, 1, 2, 10, 11):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 24.5


def test_numbers_become_samples_with_the_labels_of_the_catalogue() -> None:
    def write(sheet: Sheet) -> None:
        waits = Histogram((0.1, 1.0))
        waits.observe(0.5)
        sheet.put("onrecord_connections", 3, "native")
        sheet.put("onrecord_closes_total", 2, "native", "4008")
        sheet.put("onrecord_pool_wait_seconds", waits, "log")

    found = samples(Exposition(write).render("")[0])
    assert found["onrecord_connections", frozenset({("door", "native")})] == 3
    assert found["onrecord_closes_total", frozenset({("door", "native"), ("code", "4008")})] == 2
    pool = ("pool", "log")
    assert found["onrecord_pool_wait_seconds_bucket", frozenset({pool, ("le", "0.1")})] == 0
    assert found["onrecord_pool_wait_seconds_bucket", frozenset({pool, ("le", "1.0")})] == 1
    assert found["onrecord_pool_wait_seconds_bucket", frozenset({pool, ("le", "+Inf")})] == 1
    assert found["onrecord_pool_wait_seconds_sum", frozenset({pool})] == 0.5
    assert "process_resident_memory_bytes" in {name for name, _ in found}


def test_a_name_that_the_catalogue_lacks_cannot_be_used() -> None:
    with pytest.raises(KeyError):
        Sheet().put("onrecord_anything", 1)


@pytest.mark.parametrize(("name", "metric"), CATALOGUE.items())
def test_every_metric_is_named_as_prometheus_asks(name: str, metric: Metric) -> None:
    assert (metric.kind == "counter") == name.endswith("_total")
    assert not {"user", "room", "address", "session"} & set(metric.labels)
    if metric.kind == "histogram":
        assert name.endswith(("_seconds", "_events"))


def test_a_scraper_that_asks_for_open_metrics_is_given_them() -> None:
    text, media_type = Exposition().render("application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_collections_are_measured_for_as_long_as_they_are_watched() -> None:
    pulse = ProcessMetrics("here")
    with pulse.watching_gc():
        gc.collect()
    gc.collect()
    found = samples(Exposition(pulse.write).render("")[0])
    assert found["onrecord_gc_pause_seconds_count", frozenset({("generation", "2")})] == 1
    assert pulse._on_gc not in gc.callbacks


async def test_with_a_token_only_whoever_shows_it_is_answered() -> None:
    application = Starlette(routes=[metrics_route(Exposition(), "scrape-me")])
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        assert (await http.get("/metrics")).status_code == 401
        assert (await http.get("/metrics", headers={"Authorization": "Bearer other"})).status_code == 401
        allowed = await http.get("/metrics", headers={"Authorization": "Bearer scrape-me"})
    assert allowed.status_code == 200
    assert allowed.headers["content-type"].startswith("text/plain; version=")


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        (Settings(), False),
        (Settings(host="localhost"), False),
        (Settings(host="::1"), False),
        (Settings(host="0.0.0.0"), True),
        (Settings(host="chat.example.com"), True),
        (Settings(host="0.0.0.0", metrics_token="secret"), False),
        (Settings(host="0.0.0.0", metrics_port=9100), False),
    ],
)
def test_a_node_knows_whether_strangers_may_scrape_it(settings: Settings, is_open: bool) -> None:  # noqa: FBT001 - a table
    assert is_public(settings) is is_open
