"""Names the operator of a command, for the record: the operating system's user and a claimed name.

The machine vouches for the user, but several people may share it (`root`, a container's user). `ONRECORD_OPERATOR`
tells them apart; the record then shows both, with the claim after the slash: `os:root/ann`.
"""

import os
import pwd
from contextlib import suppress


def operator(claimed: str) -> str:
    """Return the operator's name, in a form that no user id has."""
    name = str(os.getuid())
    with suppress(KeyError):
        name = pwd.getpwuid(os.getuid()).pw_name
    return f"os:{name}/{claimed}" if claimed else f"os:{name}"
