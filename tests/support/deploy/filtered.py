"""A node under a seccomp profile: `python -m tests.support.deploy.filtered PROFILE serve`; the profile is JSON.

The profile becomes a filter of this process, as a container engine would install it. It supports what the profiles of
`deploy/seccomp` use: the actions ALLOW and ERRNO, and conditions on the first argument.
"""

import ctypes
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

from service.cli import main
from tests.support.needs import NUMBERS

_LOAD, _JUMP_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_NUMBER, _FIRST_ARGUMENT = 0, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SET_SECCOMP, _FILTER, _NO_NEW_PRIVILEGES = 22, 2, 38

Instruction = tuple[int, int, int, int]


def instructions(profile: dict[str, Any]) -> list[Instruction]:
    """Return the filter of a profile."""
    numbers = {
        name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", NUMBERS.read_text())
    }
    found: list[Instruction] = [(_LOAD, 0, 0, _NUMBER)]
    for rule in profile["syscalls"]:
        for name in rule["names"]:
            if name in numbers:
                found += _rule(numbers[name], rule)
    return [*found, (_RETURN, 0, 0, _ERRNO | profile["defaultErrnoRet"])]


def _rule(number: int, rule: dict[str, Any]) -> list[Instruction]:
    allowed = rule["action"] == "SCMP_ACT_ALLOW"
    answer = (_RETURN, 0, 0, _ALLOW if allowed else _ERRNO | rule["errnoRet"])
    if not rule.get("args"):
        return [(_JUMP_EQUAL, 0, 1, number), answer]
    (condition,) = rule["args"]
    mask, value = 0xFFFFFFFF, condition["value"]
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        mask, value = value, condition["valueTwo"]
    test = [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_AND, 0, 0, mask), (_JUMP_EQUAL, 0, 1, value), answer]
    return [(_JUMP_EQUAL, 0, len(test), number), *test, (_LOAD, 0, 0, _NUMBER)]


def install(program: list[Instruction]) -> None:
    """Apply a filter to this process and its children."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    pointer = ctypes.c_void_p(ctypes.addressof(header))
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, pointer):
        raise OSError(ctypes.get_errno(), "the filter is refused")


if __name__ == "__main__":
    profile_path = sys.argv.pop(1)
    install(instructions(json.loads(Path(profile_path).read_text())))
    sys.exit(main())
