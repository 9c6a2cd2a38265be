"""Finds the log events in the code: every call on a module's `log`."""

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache

from tests.support.environment import ROOT

LEVELS = {
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}


@dataclass
class LogEvent:
    """The levels of an event, and the fields that it has in any place."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


@cache
def log_events() -> dict[str, LogEvent]:
    """Return every event by name; a name or field that is computed at run time is `?`."""
    found: dict[str, LogEvent] = defaultdict(LogEvent)
    for folder in ("service", "projections"):
        for module in (ROOT / folder).rglob("*.py"):
            source = module.read_text()
            for node in ast.walk(ast.parse(source)) if "logging" in source else ():
                if isinstance(node, ast.Call) and _is_log_call(node):
                    event = found[_constant(node.args[0])]
                    event.levels.add(LEVELS[node.func.attr])  # type: ignore[attr-defined] # `_is_log_call`
                    for keyword in node.keywords:
                        event.fields |= _fields(keyword)
    return dict(found)


def _is_log_call(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in LEVELS or not node.args:
        return False
    return ast.unparse(node.func.value) in ("log", "logging.getLogger(OURS)")


def _fields(keyword: ast.keyword) -> set[str]:
    if keyword.arg == "exc_info":
        return {"exception"}
    if keyword.arg != "extra":
        return set()
    if not isinstance(keyword.value, ast.Dict):
        return {"?"}
    # Also the fields of `**({"one": 1} if ... else {"other": 2})`.
    dicts = [node for node in ast.walk(keyword.value) if isinstance(node, ast.Dict)]
    return {_constant(key) for each in dicts for key in each.keys if key is not None}


def _constant(node: ast.expr | None) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "?"
