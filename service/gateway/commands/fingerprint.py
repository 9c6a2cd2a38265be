"""What a client said with a command, and the ref that it said it under.

The rule: a ref names a command only together with its words, so that a retry is known and another command refused.
"""

from functools import cache

import msgspec

from service.protocol import commands as wire


def command_fingerprint(frame: wire.Frame) -> bytes:
    """Return what makes a command the same command: everything that was said, but its ref.

    Fields at their defaults are left out, so that a later version with more fields knows a retry of an earlier one.
    """
    fields = {
        shown: value
        for shown, name, default in _fields(type(frame))
        if (value := getattr(frame, name)) != default
    }
    return msgspec.json.encode(fields)


@cache
def _fields(frame: type[wire.Frame]) -> tuple[tuple[str, str, object], ...]:
    """Return the fields of a frame but its ref, by their names on the wire: each with its own name and its default."""
    fields = (field for field in msgspec.structs.fields(frame) if field.name != "ref")
    return tuple(sorted((field.encode_name, field.name, field.default) for field in fields))


def ref_of(frame: wire.Frame) -> str:
    """Return the ref of a command that is recorded."""
    if frame.ref is None:
        message = "a recorded command is decoded only with a ref"
        raise AssertionError(message)
    return frame.ref
