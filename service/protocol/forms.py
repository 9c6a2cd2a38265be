"""The forms of texts that clients and operators send, in words: no error shows a regular expression.

`form` declares a form together with its words; a text that does not match is reported as "'Project X' is not a room id:
...". What was sent is repeated in printable characters, at most `MAX_SHOWN`.
"""

import ast
import re
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta

MAX_SHOWN = 60
"""Characters of a wrong text that an error repeats."""

_MISMATCH = re.compile(
    r"Expected `str` matching regex (?P<pattern>'.*'|\".*\")"
    r"(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?",
    re.DOTALL,
)
_CHOICE = re.compile(r"Invalid enum value '(?P<sent>.*)' - at `\$\.(?P<name>\w+)`", re.DOTALL)
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


FORMS: dict[str, Form] = {}
"""The declared forms by pattern."""


def form(pattern: str, words: Form, **limits: Any) -> Meta:
    """Return the constraint of a pattern, and of other `limits`; `words` describe it in errors."""
    FORMS[pattern] = words
    return Meta(pattern=pattern, **limits)


def problem_of(error: msgspec.ValidationError, value: object, schema: type[msgspec.Struct]) -> str:
    """Return an error of msgspec about a `value` as a sentence for clients, with the JSON path."""
    if (invalid := _CHOICE.fullmatch(str(error))) is not None:
        return f"'{shown(invalid['sent'])}' is none of {_choices(schema, invalid['name'])} - at '$.{invalid['name']}'"
    found = _MISMATCH.match(str(error))
    if found is None:
        return str(error).replace("`", "'")
    pattern, path = ast.literal_eval(found["pattern"]), found["path"] or ""
    at = "" if found["path"] is None else f" - at '${path}'"
    return f"{FORMS[pattern].problem(_sent(value, path, pattern, keys=bool(found['key'])))}{at}"


def _choices(schema: type[msgspec.Struct], name: str) -> str:
    """Return the words that a field takes."""
    (field,) = (field for field in msgspec.structs.fields(schema) if field.encode_name == name)
    kinds = [field.type, *get_args(field.type)]
    return ", ".join(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))


def shown(text: str) -> str:
    """Return a part of a wrong text in printable characters."""
    printable = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[: MAX_SHOWN + 1])
    return printable if len(printable) <= MAX_SHOWN else f"{printable[:MAX_SHOWN]}..."


def _sent(value: Any, path: str, pattern: str, *, keys: bool) -> str | None:
    """Return the text at a path of `value`, or the first key there that does not match; None if there is none."""
    for name, index in _STEP.findall(path):
        value = value[name] if name else value[int(index)]
    if not keys:
        return value if isinstance(value, str) else None
    return next((text for text in value if not re.search(pattern, text)), None)
