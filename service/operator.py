"""Who runs a command: the operating system's user, as the record names them."""

import os
import pwd
from contextlib import suppress


def operator() -> str:
    """Return the operating system's user, in a form that no chat user's id has."""
    name = str(os.getuid())
    with suppress(KeyError):
        name = pwd.getpwuid(os.getuid()).pw_name
    return f"os:{name}"
