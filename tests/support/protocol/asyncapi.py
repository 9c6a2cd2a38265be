"""Walks the AsyncAPI document."""

from typing import Any


def parts(value: Any) -> list[dict[str, Any]]:
    """Return every object within a value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [part for item in inner for part in parts(item)]
    return [value, *found] if isinstance(value, dict) else found
