"""The site's navigation names every page once, and every link and anchor between the documents resolves."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.environment import ROOT

DOCS = ROOT / "docs"
CONFIGURATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = sorted(DOCS.rglob("*.md"))
NAMED = re.compile(r"docs/[\w/-]+\.(?:md|yaml)")
TEXTS = (".py", ".md", ".sql", ".yml", ".service", ".target", ".toml", "")


def pages(nav: object) -> Iterator[str]:
    """Return the pages of a navigation, depth first."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list | dict):
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from pages(part)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_navigation_names_every_page_once() -> None:
    named = list(pages(CONFIGURATION["nav"]))
    assert sorted(named) == [str(page.relative_to(DOCS)) for page in PAGES]


def test_the_site_loads_no_fonts_and_fails_on_a_broken_link() -> None:
    assert CONFIGURATION["theme"]["font"] is False
    assert CONFIGURATION["strict"] is True


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("*.md")), *PAGES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_link_and_anchor_of_a_page_resolves(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("folder", ["service", "projections", "bench", "deploy", "scripts", "tests"])
def test_every_document_that_a_file_names_exists(folder: str) -> None:
    for file in (ROOT / folder).rglob("*"):
        if file.is_file() and file.suffix in TEXTS and "node_modules" not in file.parts:
            for name in NAMED.findall(file.read_text()):
                assert (ROOT / name).exists(), f"{file.relative_to(ROOT)}: {name}"
