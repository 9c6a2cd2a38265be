"""JSON as every door reads it: strictly, so that no two readers can disagree about what was said (RFC 8259).

What is not JSON, or nested too deep, is `NotJson`; a door closes the connection for it. Duplicate keys, lone surrogates
and NUL are JSON that readers disagree about, or that Postgres cannot hold: `check_strings` refuses them in an answer.
"""

import json
from typing import Any

from service.errors import Malformed

MAX_DEPTH = 32
_LONGEST_INTEGER = 20  # digits and sign
_INTEGERS = range(-(2**63), 2**64)


class NotJson(Exception):
    """What came is no JSON text that could be answered."""


class Duplicate(dict[str, Any]):
    """An object in which a key came twice: kept apart until the command's `ref` is known."""

    key: str


def parse_json(text: str, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value in `text`.

    Raises:
        NotJson: it is not JSON, or nested deeper than `max_depth`.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_integer
        )
    except (ValueError, RecursionError) as error:
        raise NotJson("not JSON") from error
    # Only a text with that many brackets can be that deep, so an ordinary frame is not walked at all.
    if text.count("[") + text.count("{") > max_depth and _depth(value) > max_depth:
        raise NotJson("nested too deep")
    return value


def check_strings(value: object, path: str) -> None:
    """Refuse duplicate keys, NUL and lone surrogates anywhere below `path`.

    Raises:
        Malformed: there is one.
    """
    if isinstance(value, Duplicate):
        check_strings(value.key, path)
        raise Malformed(problem=f"The key {value.key} came twice - at '{path}'")
    if isinstance(value, dict):
        for key, item in value.items():
            check_strings(key, path)
            check_strings(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_strings(item, f"{path}[{index}]")
    elif isinstance(value, str) and ("\0" in value or any("\ud800" <= char <= "\udfff" for char in value)):
        raise Malformed(problem=f"NUL and lone surrogates cannot be stored - at '{path}'")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    duplicate = Duplicate(value)
    duplicate.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return duplicate


def _integer(digits: str) -> int | float:
    # No number of ours is that long, and Python refuses to read very long ones as integers: it is a wrong type then.
    # Nor has any JSON encoder to write more than 64 bits.
    if len(digits) <= _LONGEST_INTEGER and (number := int(digits)) in _INTEGERS:
        return number
    return float(digits)


def _refuse_constant(name: str) -> None:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _depth(value: object) -> int:
    """Return how deep `value` is nested, counted level by level so that no depth can exhaust the stack."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return depth
