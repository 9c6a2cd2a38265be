"""The forms of texts that clients and operators send, in words: no error shows a regular expression.

`form` declares a form together with its words; a text that does not match is reported as "'Project X' is not a room id:
...". What was sent is repeated in printable characters, at most `MAX_SHOWN`.
"""

import ast
import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta

MAX_SHOWN = 60
"""Characters of a wrong text that an error repeats."""

MAX_NEAR = 32
"""Characters of the longest unknown word for which a similar known one is looked up."""

_MISMATCH = re.compile(
    r"Expected `str` matching regex (?P<pattern>'.*'|\".*\")"
    r"(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?",
    re.DOTALL,
)
_CHOICE = re.compile(r"Invalid enum value '(?P<sent>.*)' - at `\$\.(?P<name>\w+)`", re.DOTALL)
_UNKNOWN = re.compile(
    r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL
)
_TIME = re.compile(
    r"(?:Invalid RFC3339 encoded datetime|Expected `datetime.*) - at `\$(?P<path>[^`]*)`", re.DOTALL
)
_MISSING = re.compile(r"Object missing required field `(?P<name>\w+)`(?: - at `\$(?P<path>[^`]*)`)?")
_BOUND = re.compile(
    r"Expected `(?P<kind>str|array|int)` (?:of length )?(?P<sign>[<>]=) (?P<bound>-?\d+) - at `\$(?P<path>[^`]*)`"
)
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class Form(NamedTuple):
    """What texts of a pattern are, which texts are allowed, one of them, and advice for those who sent another."""

    noun: str
    allowed: str
    example: str
    advice: str = ""

    def problem(self, text: str | None) -> str:
        """Return what is wrong with a text, without a full stop; None if the text is not known."""
        what = "This" if text is None else f"'{shown(text)}'"
        advice = f". {self.advice}" if self.advice else ""
        return f"{what} is not {self.noun}: {self.allowed}, such as {self.example}{advice}"


TIME = Form("a time", "give a time with its offset", "2026-12-01T10:00:00Z")

FORMS: dict[str, Form] = {}
"""The declared forms by pattern."""


def form(pattern: str, words: Form, **limits: Any) -> Meta:
    """Return the constraint of a pattern, and of other `limits`; `words` describe it in errors."""
    FORMS[pattern] = words
    return Meta(pattern=pattern, **limits)


def problem_of(error: msgspec.ValidationError, value: object, schema: type[msgspec.Struct]) -> str:
    """Return an error of msgspec about a `value` as a sentence for clients, with the JSON path."""
    for pattern, words in _WORDS:
        if (match := pattern.fullmatch(str(error))) is not None:
            return words(match, value, schema)
    found = _MISMATCH.match(str(error))
    if found is None:
        return str(error).replace("`", "'")
    pattern, path = ast.literal_eval(found["pattern"]), found["path"] or ""
    at = "" if found["path"] is None else f" - at '${path}'"
    return f"{FORMS[pattern].problem(_sent(value, path, pattern, keys=bool(found['key'])))}{at}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a wrong one probably stands for, if there is one and the wrong one is short."""
    if len(word) > MAX_NEAR:
        return None
    bare = {name.replace("_", "").lower(): name for name in known}
    near = difflib.get_close_matches(word.replace("_", "").lower(), bare, n=1, cutoff=0.8)
    return bare[near[0]] if near else None


def _unknown_choice(match: re.Match[str], _value: Any, schema: type[msgspec.Struct]) -> str:
    name = match["name"]
    return f"'{shown(match['sent'])}' is none of {_choices(schema, name)} - at '$.{name}'"


def _unknown_field(match: re.Match[str], _value: Any, schema: type[msgspec.Struct]) -> str:
    """Return what is wrong with a field that the schema, or an object in it, does not have."""
    name, path = match["name"], match["path"] or ""
    near = None if path else nearest(name, schema.__struct_encode_fields__)
    advice = f"; did you mean {near}?" if near else ""
    return f"Object contains unknown field '{shown(name)}'{advice} - at '${path}.{shown(name)}'"


def _wrong_time(match: re.Match[str], value: Any, _schema: type[msgspec.Struct]) -> str:
    return f"{TIME.problem(_text(_at(value, match['path'])))} - at '${match['path']}'"


def _missing_field(match: re.Match[str], _value: Any, schema: type[msgspec.Struct]) -> str:
    """Return that a field is missing, with an example of it unless it belongs to an object within the frame."""
    name, path = match["name"], match["path"] or ""
    example = "" if path else f', such as "{name}": {_example(_type_of(schema, name))}'
    return f"Object missing required field '{name}'{example} - at '${path}.{name}'"


def _beyond(match: re.Match[str], value: Any, _schema: type[msgspec.Struct]) -> str:
    """Return that a value is beyond a bound of its length or, for a number, of its size."""
    sent, most = _at(value, match["path"]), match["sign"] == "<="
    limit = f"the {'most' if most else 'least'} is {match['bound']} - at '${match['path']}'"
    if match["kind"] == "int":
        return f"{shown(str(sent))} is too {'large' if most else 'small'}: {limit}"
    unit = "characters" if match["kind"] == "str" else "entries"
    return f"{len(sent)} {unit} are too {'many' if most else 'few'}: {limit}"


_WORDS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Any, type[msgspec.Struct]], str]], ...] = (
    (_CHOICE, _unknown_choice),
    (_UNKNOWN, _unknown_field),
    (_TIME, _wrong_time),
    (_MISSING, _missing_field),
    (_BOUND, _beyond),
)
"""The words for errors of msgspec, by the form of its message."""


def _type_of(schema: type[msgspec.Struct], name: str) -> msgspec.inspect.Type:
    (field,) = (field for field in msgspec.structs.fields(schema) if field.encode_name == name)
    return msgspec.inspect.type_info(field.type)


def _example(kind: msgspec.inspect.Type) -> str:
    """Return a value of a type, as JSON."""
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _example(inner)
        case msgspec.inspect.StrType(pattern=str(pattern)) if pattern in FORMS:
            return f'"{FORMS[pattern].example.split(" or ")[0]}"'
        case msgspec.inspect.LiteralType(values=values):
            return f'"{values[0]}"'
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return "1"
        case msgspec.inspect.BoolType():
            return "true"
        case _:
            return '"..."'


def _choices(schema: type[msgspec.Struct], name: str) -> str:
    """Return the words that a field takes."""
    (field,) = (field for field in msgspec.structs.fields(schema) if field.encode_name == name)
    kinds = [field.type, *get_args(field.type)]
    return ", ".join(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))


def shown(text: str) -> str:
    """Return a part of a wrong text in printable characters."""
    start = printable(text[: MAX_SHOWN + 1])
    return start if len(start) <= MAX_SHOWN else f"{start[:MAX_SHOWN]}..."


def printable(text: str) -> str:
    """Return text on one line, without characters that a terminal interprets."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _sent(value: Any, path: str, pattern: str, *, keys: bool) -> str | None:
    """Return the text at a path of `value`, or the first key there that does not match; None if there is none."""
    value = _at(value, path)
    if not keys:
        return _text(value)
    return next((text for text in value if not re.search(pattern, text)), None)


def _at(value: Any, path: str) -> Any:
    for name, index in _STEP.findall(path):
        value = value[name] if name else value[int(index)]
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
