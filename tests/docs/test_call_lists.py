"""docs/explanation/call-lists.md names functions that exist, each with a call that is in its body."""

import ast
import importlib
import inspect
import re
import textwrap
from functools import reduce

import pytest

from tests.support.environment import ROOT

PAGE = (ROOT / "docs" / "explanation" / "call-lists.md").read_text()
ROWS = re.findall(r"^\| `([\w.]+):([\w.]+)` \| [^|]+ \| (?:`(\w+)`)? ?\|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("module", "name", "call"), ROWS)
def test_each_function_of_the_call_lists_exists_and_makes_its_call(module: str, name: str, call: str) -> None:
    function = reduce(getattr, name.split("."), importlib.import_module(module))
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not call or call in used


def test_every_row_of_the_call_lists_is_read() -> None:
    assert len(ROWS) == len(re.findall(r"^\| `", PAGE, re.MULTILINE))
