"""Hypothesis strategy for structs: draws values from the types of the fields, as msgspec reads them."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from service.protocol.events import timestamp

times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1))  # noqa: DTZ001 - any zone will do
_storable = st.characters(codec="utf-8", exclude_characters="\0")
_plain: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.BoolType: st.booleans(),
    inspect.FloatType: st.floats(allow_nan=False, allow_infinity=False),
    inspect.NoneType: st.none(),
    inspect.DateTimeType: times.map(lambda at: at.replace(tzinfo=UTC)),
}


def any_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Draw values of a struct."""
    fields = {
        field.name: _of(inspect.type_info(field.type), field.encode_name)
        for field in msgspec.structs.fields(cls)
    }
    return st.builds(cls, **fields)


def _of(kind: inspect.Type, name: str) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.Metadata(type=inner):
            found = _of(inner, name)
        case inspect.UnionType(types=types):
            found = st.one_of(*(_of(one, name) for one in types))
        case inspect.LiteralType(values=values):
            found = st.sampled_from(values)
        case inspect.StructType(cls=cls):
            found = any_of(cls)
        case inspect.VarTupleType(item_type=item, max_length=most):
            found = st.lists(_of(item, name), max_size=min(most or 3, 3)).map(tuple)
        case inspect.CollectionType(item_type=item):
            found = st.lists(_of(item, name), max_size=3)
        case inspect.DictType(key_type=key, value_type=item):
            found = st.dictionaries(_of(key, ""), _of(item, ""), max_size=3)
        case inspect.IntType(ge=least, le=most):
            found = st.integers(least if least is not None else -(2**53), most if most is not None else 2**53)
        case inspect.StrType():
            found = _text(kind, name)
        case _:
            found = _plain[type(kind)]
    return found


def _text(kind: inspect.StrType, name: str) -> st.SearchStrategy[str]:
    if name == "emoji":
        return st.sampled_from(("\U0001f44d", "\u2764\ufe0f", ":party_parrot:"))
    if kind.pattern is not None:
        return st.from_regex(kind.pattern)
    if name in ("at", "lastSeen", "until") or name.endswith("At"):
        return times.map(timestamp)
    return st.text(_storable, min_size=kind.min_length or 0, max_size=min(kind.max_length or 20, 20))
