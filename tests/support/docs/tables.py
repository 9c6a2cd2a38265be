"""Writes the tables of docs/reference/settings.md and docs/reference/metrics.md from the code. `make docs` runs it."""

import re

from service.config.settings import BY_VARIABLE
from service.observability.catalogue import CATALOGUE
from tests.support.environment import ROOT

REFERENCE = ROOT / "docs" / "reference"


def settings_page(page: str) -> str:
    """Return a page with the meaning of each setting from the code; the defaults are as they are on the page."""

    def row(found: re.Match[str]) -> str:
        return f"| `{found[1]}` | {found[2]} | {BY_VARIABLE[found[1]].metadata['meaning']} |"

    return re.sub(r"^\| `(ONRECORD_\w+)` \| (.*?) \| .* \|$", row, page, flags=re.MULTILINE)


def metrics_page(page: str) -> str:
    """Return a page with the row of each metric from the catalogue."""

    def row(found: re.Match[str]) -> str:
        metric = CATALOGUE[found[1]]
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        return f"| `{found[1]}` | {metric.kind} | {labels} | {metric.meaning} |"

    return re.sub(r"^\| `(onrecord_\w+)` \| .* \|$", row, page, flags=re.MULTILINE)


if __name__ == "__main__":
    for name, made in (("settings", settings_page), ("metrics", metrics_page)):
        file = REFERENCE / f"{name}.md"
        file.write_text(made(file.read_text()))
