"""Every reference in the documents, docstrings, comments and messages leads to something that exists."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from service.config.settings import BY_VARIABLE
from service.observability.catalogue import CATALOGUE
from service.protocol.commands import COMMANDS
from service.protocol.contract import schemas
from tests.support.docs.command_line import commands
from tests.support.environment import ROOT

FOLDERS = "bench|deploy|docs|examples|migrations|projections|scripts|service|tests"
KINDS = (
    ".py",
    ".md",
    ".sql",
    ".yml",
    ".toml",
    ".js",
    ".mjs",
    ".cjs",
    ".html",
    ".css",
    ".sh",
    ".json",
    ".c",
    ".h",
)
NEVER_EDITED = ROOT / "migrations" / "sql"
"""Released migrations, whose comments name what was there then."""

RECORDED = ROOT / "bench" / "results"
"""Results of benchmarks, which name what was there when they were measured."""

Reference = tuple[str, str]
"""Where a reference is, and what it names."""


@cache
def texts() -> dict[str, str]:
    """Return the texts of the tree by path: documents, code with its docstrings and messages, configuration."""
    roots = [ROOT / folder for folder in FOLDERS.split("|")]
    files = [*ROOT.glob("*"), *(path for root in roots for path in root.rglob("*"))]
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for path in files
        if path.is_file()
        and (path.suffix in KINDS or path.parent.name == "scripts" or path.name in ("Makefile", "Dockerfile"))
        and NEVER_EDITED not in path.parents
        and RECORDED not in path.parents
        and path != Path(__file__)
    }


def found(pattern: str, where: Callable[[str], bool] = lambda _path: True) -> Iterator[Reference]:
    """Give what a pattern finds in the texts whose path fulfils a condition; its first group is the name."""
    for path, text in texts().items():
        if where(path):
            for match in re.finditer(pattern, text):
                yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}", match[1]


def missing(references: Iterator[Reference], exists: Callable[[str], bool]) -> list[str]:
    """Return the references that lead nowhere; there has to be a reference at all."""
    all_of_them = list(references)
    assert all_of_them
    return [f"{place}: {name}" for place, name in all_of_them if not exists(name)]


def is_document(path: str) -> bool:
    return path.endswith(".md")


def slugs(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and MkDocs make them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


def test_every_link_leads_to_a_file_and_to_a_heading() -> None:
    wrong = []
    for place, target in found(r"\]\(([^)\s]+)\)", is_document):
        if re.match(r"[a-z]+:", target):
            continue
        document = ROOT / place.partition(":")[0]
        file, _, anchor = target.partition("#")
        other = (document.parent / file).resolve() if file else document
        if not other.exists() or (
            anchor and other.suffix == ".md" and anchor not in slugs(other.read_text())
        ):
            wrong.append((place, target))
    assert wrong == []


EXAMPLES_OF_PATHS = re.compile(r"NAME|NNNN|\*|\.\.\.|^bench/results/")
"""Patterns, places of names, and results that a benchmark writes."""


def test_every_path_exists() -> None:
    def exists(path: str) -> bool:
        path = path.rstrip("./")
        return bool(EXAMPLES_OF_PATHS.search(path)) or any(ROOT.glob(path)) or any(ROOT.glob(f"{path}.*"))

    paths = found(rf"(?<![\w./:\"-])((?:{FOLDERS})/[\w./*-]+\.(?:py|md|sql|yml|yaml|json|sh|js|mjs|cjs|c))\b")
    assert missing(paths, exists) == []


WRITTEN = {"latest.md", "paired.md"}
"""Documents that a command writes."""


def test_every_named_document_exists() -> None:
    known = {
        path.name
        for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")]
    }
    names = found(r"(?<![\w/.-])([\w-]+\.md)\b")
    assert missing(names, lambda name: name in known | WRITTEN or "NNNN" in name) == []


def test_every_decision_exists() -> None:
    numbers = {path.name[:4] for path in (ROOT / "docs" / "decisions").iterdir()}
    assert missing(found(r"\b[Dd]ecisions? (\d+)\b"), lambda number: number.zfill(4) in numbers) == []


def test_nothing_is_announced_for_later() -> None:
    assert [place for place, _ in found(r"(\*\(later\)\*|\bTODO\b|\bFIXME\b|\bcoming soon\b)")] == []


def test_every_setting_exists() -> None:
    names = found(
        r"\b(ONRECORD_[A-Z0-9_]*[A-Z0-9])\b(?!_)", lambda path: not path.startswith(("tests", "bench"))
    )
    assert missing(names, lambda name: name in BY_VARIABLE) == []


def test_every_command_exists() -> None:
    known = {path.removeprefix("onrecord ") for path, _ in commands()}
    groups = {command.partition(" ")[0] for command in known if " " in command}

    def exists(words: str) -> bool:
        first, _, second = words.partition(" ")
        return f"{first} {second}" in known if first in groups and second else first in known | groups

    written = found(r"`(?:\.venv/bin/)?onrecord ([a-z][a-z-]*(?: [a-z][a-z-]*)?)")
    assert missing(written, exists) == []


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert missing(found(r"`make ([a-z-]+)"), lambda target: target in targets) == []


def test_every_module_exists() -> None:
    def exists(name: str) -> bool:
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            place = ROOT.joinpath(*parts[:length])
            if place.is_dir() or place.with_suffix(".py").exists():
                rest = parts[length:]
                source = (
                    place.with_suffix(".py") if place.with_suffix(".py").exists() else place / "__init__.py"
                )
                return not rest or rest[0] in source.read_text()
        return False

    names = found(r"`((?:service|projections|migrations|bench|tests)(?:\.\w+)+)(?:\(\))?`")
    assert missing(names, exists) == []


def test_every_metric_exists() -> None:
    names = found(r"`(onrecord_[a-z0-9_]+)(?:\{[^`]*)?`", is_document)
    suffix = re.compile(r"_(bucket|sum|count)$")
    roles = set(
        re.findall(r"\bonrecord_\w+", "".join(path.read_text() for path in NEVER_EDITED.glob("*.sql")))
    )
    logins, databases = (
        {"onrecord_owner", "onrecord_worker"},
        {"onrecord_restored", "onrecord_broken"},
    )  # of guides
    known = {*CATALOGUE, *roles, *logins, *databases}
    assert missing(names, lambda name: name in known or suffix.sub("", name) in known) == []


STREAMS = "docs/reference/stored-events.md"
"""It has names of streams, which look like those of events."""


def test_every_wire_name_exists() -> None:
    known = {"connect", *COMMANDS, *map(schemas.event_name, schemas.events())}
    prefixes = "|".join({name.partition(":")[0] for name in known if ":" in name})
    names = found(rf"`((?:{prefixes}):[a-z_]+)`", lambda path: is_document(path) and path != STREAMS)
    assert missing(names, lambda name: name in known) == []
