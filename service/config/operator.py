"""Who runs a command, as the record names them: the operating system's user, and who they say that they are.

The first the machine vouches for; several people may share it (`root`, a container's user). So whoever wants to be told
apart sets `ONRECORD_OPERATOR`, and the record shows both, the claim behind the slash: `os:root/ann`.
"""

import os
import pwd
from contextlib import suppress


def operator(claimed: str) -> str:
    """Return who it is, in a form that no chat user's id has."""
    name = str(os.getuid())
    with suppress(KeyError):
        name = pwd.getpwuid(os.getuid()).pw_name
    return f"os:{name}/{claimed}" if claimed else f"os:{name}"
