"""The numbers to watch are documented as they are, and what is built on them asks for none that is not there."""

import re

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from service.observability.catalogue import CATALOGUE
from tests.support.docs.dashboard import DASHBOARD
from tests.support.environment import ROOT

METRICS = (ROOT / "docs" / "reference" / "metrics.md").read_text()
RUNBOOK = (ROOT / "docs" / "guides" / "troubleshoot.md").read_text()
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
OURS = re.compile(r"\b(?:onrecord|process)_[a-z_]+")


def known() -> set[str]:
    """Return every name that a sample can have."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    names = {sample.name for family in registry.collect() for sample in family.samples}
    for name, metric in CATALOGUE.items():
        parts = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names |= {name + part for part in parts}
    return names


def labels_of(name: str) -> set[str]:
    metric = CATALOGUE.get(re.sub(r"_(bucket|sum|count)$", "", name)) or CATALOGUE.get(name)
    return {*(metric.labels if metric else ()), "instance", "job", "le"}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_metric_is_documented_with_its_kind_labels_and_meaning(name: str) -> None:
    metric = CATALOGUE[name]
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    assert f"| `{name}` | {metric.kind} | {labels} | {metric.meaning} |" in METRICS


def test_no_metric_is_documented_that_is_not_there() -> None:
    assert set(re.findall(r"^\| `(onrecord_[a-z_]+)` \|", METRICS, re.MULTILINE)) == set(CATALOGUE)


def test_every_alert_uses_known_metrics_and_describes_the_problem() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(OURS.findall(rule["expr"])) <= known(), rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".") or rule["annotations"]["summary"].endswith("?")
        check_labels(rule["expr"])


def test_what_to_do_about_every_alert_is_in_the_runbook() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} == set(re.findall(r"`(OnRecord[A-Za-z]+)`", RUNBOOK))


def test_every_panel_asks_for_metrics_that_are_there() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            assert set(OURS.findall(target["expr"])) <= known(), panel["title"]
            check_labels(target["expr"])
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)


def check_labels(expression: str) -> None:
    """Hold the labels that are asked of each metric against those that it has."""
    for name, selector in re.findall(r"((?:onrecord|process)_[a-z_]+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"([a-z]+)(?:=|!=|=~|!~)\"", selector))
        assert asked <= labels_of(name), (name, asked)
