"""Writes the curves that a page of the documentation shows: figures as JSON, and charts beside the page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report import results
from bench.report.svg import Line, drawing
from bench.world import build

DRAWINGS = build.ROOT / "docs" / "explanation" / "scaling"


def keep(name: str, about: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> None:
    """Save figures, with the description of the machine (`machine.described`, taken before the measurement)."""
    found = {"about": about, "commit": about["commit"], "points": points}
    (results.RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def draw(name: str, across: str, up: str, lines: Sequence[Line]) -> None:
    """Draw curves over the same axes."""
    DRAWINGS.mkdir(exist_ok=True)
    (DRAWINGS / f"{name}.svg").write_text(drawing(across, up, lines))
