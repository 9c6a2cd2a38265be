"""The rules of structure: what a test may import, how long names are, how large folders, modules and classes get."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from tests.support.environment import ROOT

TESTS = ROOT / "tests"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in TESTS.rglob("*.py")
}
NAME = 70
"""Characters of a test's name, at most."""

FOLDER, MODULE = 14, 250
"""Modules of a folder, and lines of a module of `tests.support`, at most."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def statements(path: Path) -> list[ast.stmt]:
    """Return all statements of a module, nested ones too. Expressions, most of a tree, are skipped."""
    found, left = [], list(parsed(path).body)
    while left:
        node = left.pop()
        found.append(node)
        for name in ("body", "orelse", "finalbody"):
            left += getattr(node, name, ())
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            left += part.body
    return found


def imported(path: Path) -> Iterator[str]:
    """Give the modules of `tests` that a module imports, under TYPE_CHECKING and in functions too."""
    for node in statements(path):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = [f"{node.module}.{name.name}" for name in node.names]
            within = [name for name in inner if name in MODULES]
            yield from within
            if len(within) < len(inner) and node.module in MODULES:
                yield node.module


def functions() -> Iterator[tuple[Path, str]]:
    for path in MODULES.values():
        for node in statements(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node.name


def may_import(module: str, other: str) -> bool:
    """Say whether a module may import another: tests may import shared modules only, the drill its own as well.

    The tests of the clients may import their own and the drill's, whose checker judges them.
    """
    if other.startswith("tests.support"):
        return True
    if module.startswith(("tests.drill", "tests.clients")) and other.startswith("tests.drill"):
        return ".test_" not in other
    if module.startswith("tests.clients") and other == "tests.clients.wire":
        return True
    return other.endswith(".conftest") and not module.startswith("tests.support")


def test_only_shared_modules_are_imported() -> None:
    arrows = [(module, other) for module, path in MODULES.items() for other in imported(path)]
    assert [arrow for arrow in arrows if not may_import(*arrow)] == []


def test_no_import_cycle_between_test_modules() -> None:
    arrows = {module: [*imported(path)] for module, path in MODULES.items()}
    packages = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    TopologicalSorter(
        {module: [other for other in others if other not in packages] for module, others in arrows.items()}
    ).prepare()


def test_names_of_tests_are_short() -> None:
    assert [name for _, name in functions() if name.startswith("test_") and len(name) > NAME] == []


def test_conditions_are_awaited_by_one_function() -> None:
    at_module_level = [
        path
        for path in MODULES.values()
        for node in parsed(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "until"
    ]
    assert at_module_level == [TESTS / "support" / "waiting.py"]


def test_folders_and_shared_modules_stay_small() -> None:
    folders = {path.parent for path in MODULES.values()}
    full = [folder for folder in folders if len({*folder.glob("*.py")} - {folder / "__init__.py"}) > FOLDER]
    assert full == []
    support = (path for module, path in MODULES.items() if module.startswith("tests.support"))
    assert [path for path in support if len(path.read_text().splitlines()) > MODULE] == []


PRODUCT = [path for root in ("service", "projections") for path in (ROOT / root).rglob("*.py")]
LINES, METHODS = 300, 24
"""Lines of a module and methods of a class of the product, at most."""

LONG = {"errors.py", "settings.py", "commands.py", "events.py", "offline.py"}
"""Catalogues, and the verifier that auditors run as a single file."""


def test_folders_modules_and_classes_of_the_product_stay_small() -> None:
    folders = Counter(path.parent for path in PRODUCT if path.stem not in ("__init__", "__main__"))
    assert [folder for folder, modules in folders.items() if modules > FOLDER] == []
    lines = {path: len(path.read_text().splitlines()) for path in PRODUCT if path.name not in LONG}
    assert [path for path, count in lines.items() if count > LINES] == []
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    sizes = [
        (path, node.name, sum(isinstance(part, functions) for part in node.body))
        for path in PRODUCT
        for node in statements(path)
        if isinstance(node, ast.ClassDef)
    ]
    assert [size for size in sizes if size[2] > METHODS] == []


def _patterns(module: ast.Module) -> Iterator[str]:
    """Give the regular expressions that a module compiles, or requires of an input."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            of_re = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "re"
            given = [
                *(node.args[:1] if of_re else ()),
                *(key.value for key in node.keywords if key.arg == "pattern"),
            ]
            yield from (
                one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )


def test_no_pattern_lets_a_newline_follow_its_end() -> None:
    r"""In Python, `$` matches before a last newline too; `\Z` does not."""
    product = [path for part in ("service", "projections") for path in (ROOT / part).rglob("*.py")]
    found = [(path, pattern) for path in product for pattern in _patterns(parsed(path))]
    assert len(found) > 20
    assert [(path, pattern) for path, pattern in found if re.search(r"(?<!\\)\$", pattern)] == []
