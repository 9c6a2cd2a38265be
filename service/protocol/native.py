"""The codec of the native protocol: JSON text frames, one object each.

A frame that is not JSON (RFC 8259), not an object, nested too deep or full of objects and arrays is not answered: the
connection is closed with 4501 (`NotAFrame`). Any other error is answered by an `error`, with the command's `ref` if it
can be read.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from service.errors import (
    ConnectedAlready,
    Malformed,
    MisspeltType,
    NoType,
    OnRecordError,
    RefRequired,
    UnknownType,
)
from service.protocol.acks import Ack, ack_fields
from service.protocol.close_codes import Violation
from service.protocol.commands import COMMANDS, MOST_MENTIONS, REF, Connect, Frame, MessageSend
from service.protocol.events import Outgoing
from service.protocol.forms import MAX_SHOWN, nearest, problem_of, shown
from service.protocol.strict_json import Duplicate, NotJson, check_strings, parse_json, shortened


class _Ref(msgspec.Struct):
    ref: Any = None


_encoder = msgspec.json.Encoder()
encode: Callable[[Outgoing], bytes] = _encoder.encode
"""Returns an event as a JSON text."""
_ref_decoder = msgspec.json.Decoder(_Ref)
_post_decoder = msgspec.json.Decoder(MessageSend)
_ref = re.compile(REF)
_MOST_MARKS = 20 + 2 * MOST_MENTIONS
"""Quotation marks of a `message:send` with every field."""


class NotAFrame(Violation):
    """A frame is not a JSON object, is nested too deep, or has too many objects and arrays."""


class Received:
    """A frame that is parsed when it is needed: its `ref` can be read without building anything else."""

    __slots__ = ("_text", "_value")

    def __init__(self, text: str) -> None:
        self._text = text
        self._value: dict[str, Any] | None = None

    def ref(self) -> str | None:
        """Return the `ref`, if the frame has one that can be echoed."""
        if self._value is not None:
            return ref_of(self._value)
        try:
            ref = _ref_decoder.decode(self._text).ref
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return None
        return ref_of({"ref": ref})

    def command(self) -> Frame:
        """Return the command.

        Raises:
            NotAFrame: the text is no frame.
            UnknownType, Malformed, RefRequired: see `decode`.
        """
        self._value = parse(self._text)
        return decode(self._text, self._value)


def parse(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Raises:
        NotAFrame: the text is not JSON, not an object, nested too deep, or has too many objects and arrays.
    """
    try:
        value = parse_json(text)
    except NotJson as error:
        raise NotAFrame(str(error)) from error
    if not isinstance(value, dict):
        raise NotAFrame("not an object")
    return value


def ref_of(value: dict[str, Any]) -> str | None:
    """Return the `ref` of a parsed frame, if it has one that can be echoed."""
    ref = value.get("ref")
    return ref if isinstance(ref, str) and _ref.match(ref) else None


def decode(text: str, value: dict[str, Any]) -> Frame:
    """Return the command in a parsed frame; `text` is what it was parsed from.

    Raises:
        UnknownType: the type is no command.
        Malformed: a field is missing, unknown or invalid.
        RefRequired: the command is recorded and has no `ref`.
    """
    if isinstance(value, Duplicate):  # checked first, since the duplicate key may be `type`
        check_strings(value, "$")
    kind = value.get("type")
    schema = COMMANDS.get(kind) if isinstance(kind, str) else None
    if schema is None:
        raise _unknown_type(value)
    frame = _convert(text, value, schema)
    if schema.RECORDED and frame.ref is None:
        raise RefRequired
    return frame


def plain_post(text: str) -> MessageSend | None:
    """Return the `message:send` in a frame that is read by one call, None if it needs the strict parser.

    Without a backslash every quotation mark begins or ends a string, so their number shows that no key came twice and
    that no value is of another kind. What is returned is what `decode` returns; what is invalid returns None. A text
    with more marks than a message can have is not decoded: each mention is matched, and nothing is charged yet.
    """
    if "\\" in text or (present := text.count('"')) > _MOST_MARKS:
        return None
    try:
        frame = _post_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    marks = 16 + 2 * (frame.reply_to is not None)
    if frame.mentions:
        marks += 2 + 2 * len(frame.mentions)
    if frame.type != MessageSend.TYPE or frame.ref is None or present != marks:
        return None
    return frame


def _unknown_type(value: dict[str, Any]) -> UnknownType:
    if "type" not in value:
        return NoType(type="No type")
    kind = value["type"]
    if kind == Connect.TYPE:
        return ConnectedAlready(type=kind)
    if not (isinstance(kind, str) and 0 < len(kind) <= 64 and kind.isprintable()):  # noqa: PLR2004
        return NoType(type=_shown(kind))
    near = nearest(kind, COMMANDS)
    return UnknownType(type=kind) if near is None else MisspeltType(type=kind, near=near)


def _shown(kind: object) -> str:
    """Return a value that is not the name of a command, as a part of a sentence."""
    match kind:
        case str():
            return f"'{shown(kind)}'"
        case list():
            return "An array"
        case dict():
            return "An object"
        case _:
            return msgspec.json.encode(kind).decode()[:MAX_SHOWN]


def decode_connect(text: str, value: dict[str, Any]) -> Connect:
    """Return the `connect` frame in a parsed frame.

    Raises:
        Malformed: a field is missing, unknown or invalid.
    """
    frame = _convert(text, value, Connect)
    assert isinstance(frame, Connect)  # noqa: S101 - for the type checker
    return frame


def encode_ack(ref: str | None, ack: Ack | dict[str, Any]) -> bytes:
    """Return the ack of a command, from the ack or from its fields."""
    fields = ack if isinstance(ack, dict) else ack_fields(ack)
    return _encoder.encode({"type": "ack", **({"ref": ref} if ref else {}), **fields})


def encode_error(ref: str | None, error: OnRecordError) -> bytes:
    """Return the error that answers a command."""
    return _encoder.encode({"type": "error", **({"ref": ref} if ref else {}), **error_fields(error)})


def error_fields(error: OnRecordError) -> dict[str, Any]:
    """Return an error's fields as every endpoint shows them."""
    fields = {name: error.data[name] for name in error.shown}
    return {"code": error.code, "message": str(error), "retryable": error.retryable, **fields}


def _convert(text: str, value: dict[str, Any], schema: type[Frame]) -> Frame:
    # Only an escape can contain NUL or a lone surrogate, and only a second object can have a duplicate key of its own.
    if "\\u" in text or text.count("{") > 1 or isinstance(value, Duplicate):
        check_strings(value, "$")
    try:
        return msgspec.convert(value, schema)
    except msgspec.ValidationError as error:
        raise Malformed(problem=shortened(problem_of(error, value, schema))) from error
