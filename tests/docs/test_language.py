"""Docstrings, comments and documents are in plain technical English: the words of the old voice are counted."""

import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

from tests.support.environment import ROOT

COUNTED = re.compile(
    r"\b(whoever|whom|whatever|somebody|nobody|everybody|anybody|meanwhile|anew|hears?|told|tells?|said)\b",
    re.IGNORECASE,
)
LIMIT = 2.0
"""Counted words in 1,000, at most."""

FOLDERS = sorted(
    str(path.relative_to(ROOT))
    for parent in ("service", "tests", "bench", "docs", "clients")
    for path in (ROOT / parent).iterdir()
    if path.is_dir() and path.name not in ("__pycache__", "results", "node_modules")
)
PARTS = [*FOLDERS, "bench", "projections", "migrations", *(path.name for path in sorted(ROOT.glob("*.md")))]


def prose(file: Path) -> str:
    """Return the docstrings and comments of a Python file, the comments of an SQL file, or a whole document."""
    text = file.read_text()
    if file.suffix == ".sql":
        return "\n".join(re.findall(r"--.*$", text, re.MULTILINE))
    if file.suffix != ".py":
        return text.split("\n## [Unreleased]")[-1].split("\n## [")[0]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(
        token.string
        for token in tokens
        if token.type == tokenize.COMMENT
        or (token.type == tokenize.STRING and token.string.startswith('"""'))
    )


@cache
def texts(part: str) -> list[str]:
    """Return the prose of the files of a part."""
    root = ROOT / part
    files = [root] if root.is_file() else root.rglob("*")
    return [
        prose(file)
        for file in files
        if file.suffix in (".py", ".md", ".sql")
        and "node_modules" not in file.parts
        and file.parent.name not in ("sql", "current")  # a released migration is never edited
    ]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_has_few_of_the_counted_words(part: str) -> None:
    text = "\n".join(texts(part))
    counted = COUNTED.findall(text)
    assert len(counted) <= max(LIMIT * len(re.findall(r"\w+", text)) / 1000, 1), sorted(set(counted))


def test_no_docstring_begins_with_do_nothing_where() -> None:
    assert not [part for part in PARTS if any("Do nothing " + "where" in text for text in texts(part))]
