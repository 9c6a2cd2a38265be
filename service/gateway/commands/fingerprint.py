"""The fingerprint and the ref of a command.

Invariant: a command counts as a retry if both its ref and its fingerprint are those of an earlier one; another command
with the same ref is refused.
"""

from functools import cache

import msgspec

from service.protocol import commands as wire


def command_fingerprint(frame: wire.Frame) -> bytes:
    """Return the fields of a command without its ref, as canonical JSON.

    Fields with their default value are left out, so that a version with more fields still recognizes a retry of a
    command that was sent to an earlier version.
    """
    fields = {
        encoded: value
        for encoded, name, default in _fields(type(frame))
        if (value := getattr(frame, name)) != default
    }
    return msgspec.json.encode(fields)


@cache
def _fields(frame: type[wire.Frame]) -> tuple[tuple[str, str, object], ...]:
    """Return the wire name, own name and default of each field but the ref, by wire name."""
    fields = (field for field in msgspec.structs.fields(frame) if field.name != "ref")
    return tuple(sorted((field.encode_name, field.name, field.default) for field in fields))


def ref_of(frame: wire.Frame) -> str:
    """Return the ref of a recorded command; its decoder guarantees that there is one."""
    if frame.ref is None:
        raise AssertionError("a recorded command is decoded only with a ref")
    return frame.ref
