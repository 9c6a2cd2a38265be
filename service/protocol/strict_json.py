"""Parses JSON strictly: accepts only texts that all JSON parsers read alike (RFC 8259).

Text that is not JSON, nested too deep, or full of objects and arrays raises `NotJson`, and an endpoint closes the
connection. Parsers disagree about duplicate keys and lone surrogates, and Postgres cannot store NUL; `check_strings`
raises `Malformed` for these, which an endpoint answers.

Invariant: the work is linear in the size of the text, and no error repeats more than `MOST_SHOWN` characters of it.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from service.errors import Malformed

MAX_DEPTH = 32
MAX_CONTAINERS = 1_000
"""Objects and arrays of one text. No command has more than ten; each costs hundreds of times as much as its bytes."""

MOST_SHOWN = 300
"""Characters of an error text that repeats a client's input: enough for a sentence, not for the whole input."""

_KEY_SHOWN = 64
_CUT = " ... "
_UNFIT = re.compile("[\0\ud800-\udfff]")
_LONGEST_INTEGER = 20  # digits and sign
_CONTAINERS = (dict, list)
_LONG_NUMBER = re.compile(r"[0-9]{19}")
_INTEGERS = range(-(2**63), 2**64)
# An unfinished string ends with the text, and nothing is matched twice, so the search is linear in every text.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)


class NotJson(Exception):
    """The text is not JSON, is nested too deep, or has too many objects and arrays."""


class Duplicate(dict[str, Any]):
    """An object with a duplicate key: kept apart until the command's `ref` is known."""

    key: str


def parse_json(text: str, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value in `text`.

    Raises:
        NotJson: the text is not JSON, nested deeper than `max_depth`, or has more than `MAX_CONTAINERS`.
    """
    brackets = _brackets(text)
    if brackets > MAX_CONTAINERS and _brackets(_STRING.sub("", text)) > MAX_CONTAINERS:
        raise NotJson("too many objects and arrays")
    try:
        # Python's own parsing of integers is far cheaper, and equivalent if no number is long.
        value = (_with_long_numbers if _LONG_NUMBER.search(text) else _decoder).decode(text)
    except (ValueError, RecursionError) as error:
        raise NotJson("not JSON") from error
    # Only a text with that many brackets can be that deep, so an ordinary frame is not walked at all.
    if brackets > max_depth and _depth(value) > max_depth:
        raise NotJson("nested too deep")
    return value


def _brackets(text: str) -> int:
    return text.count("[") + text.count("{")


def check_strings(value: object, path: str) -> None:
    """Refuse duplicate keys, NUL and lone surrogates anywhere below `path`.

    Raises:
        Malformed: the value has one.
    """
    if _is_fit(value):
        return
    # The path is built on the way back from the invalid part; on the way in, it would cost time for each item.
    if (found := _first_unfit(value)) is not None:
        problem, steps = found
        raise Malformed(problem=shortened(f"{problem} - at '{path}{''.join(reversed(steps))}'"))


def shortened(sentence: str) -> str:
    """Return a sentence that may repeat a client's input; the middle of a long one is left out."""
    if len(sentence) <= MOST_SHOWN:
        return sentence
    half = (MOST_SHOWN - len(_CUT)) // 2
    return sentence[:half] + _CUT + sentence[-half:]


def _is_fit(value: object) -> bool:
    """Return whether all of `value` is valid; checks level by level, so that many items share one search."""
    level = [value]
    while level:
        below: list[object] = []
        for part in level:
            if isinstance(part, dict):
                if isinstance(part, Duplicate) or _UNFIT.search("".join(part)):
                    return False
                items: Collection[object] = part.values()
            else:
                items = part if isinstance(part, list) else (part,)
            if _UNFIT.search("".join([item for item in items if isinstance(item, str)])):
                return False
            below += [item for item in items if item and isinstance(item, _CONTAINERS)]
        level = below
    return True


def _first_unfit(value: object) -> tuple[str, list[str]] | None:
    """Return the problem of the first invalid part, and the steps from it up to `value`; None if all is valid."""
    if isinstance(value, Duplicate):
        return _unfit(value.key) or (f"The key {_cut(value.key)} came twice", [])
    if isinstance(value, str):
        return _unfit(value)
    for key, item in _items(value):
        if isinstance(key, str) and (found := _unfit(key)) is not None:
            return found
        if (found := _first_unfit(item)) is not None:
            found[1].append(f".{_cut(key)}" if isinstance(key, str) else f"[{key}]")
            return found
    return None


def _items(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _unfit(text: str) -> tuple[str, list[str]] | None:
    return ("NUL and lone surrogates cannot be stored", []) if _UNFIT.search(text) else None


def _cut(key: str) -> str:
    return key if len(key) <= _KEY_SHOWN else key[:_KEY_SHOWN] + "..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    duplicate = Duplicate(value)
    duplicate.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return duplicate


def _integer(digits: str) -> int | float:
    # No integer of the protocol is longer, Python refuses to parse very long ones, and msgspec encodes at most 64 bits.
    # As a float, a longer one is refused as a wrong type.
    if len(digits) <= _LONGEST_INTEGER and (number := int(digits)) in _INTEGERS:
        return number
    return float(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _depth(value: object) -> int:
    """Return how deep `value` is nested; counts level by level, so that no depth can exhaust the stack."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, _CONTAINERS)]:
        depth += 1
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return depth


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
_with_long_numbers = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_integer
)
