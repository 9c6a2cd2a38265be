"""`onrecord doctor`: finds what is wrong with an installation, or will be, and reports it in one sentence each.

It looks at everything from outside, as the application's login and with the settings of its own environment, and
changes nothing. Each module checks one server; a check is a function that returns findings.

Invariant: a finding is a fact observed just now, with what to do about it. What cannot be determined is reported so.
"""

import asyncio
from collections.abc import Iterable

from service.config.settings import Settings
from service.doctor import configuration, postgres, provider, redis
from service.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine", "exit_code"]


async def examine(settings: Settings) -> list[Finding]:
    """Return the findings of all checks."""
    parts = await asyncio.gather(*(part.examine(settings) for part in (provider, postgres, redis)))
    return [*configuration.examine(settings), *(finding for part in parts for finding in part)]


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the exit code of the gravest finding: 0; 1 failed, 2 a wrong setting, 3 a server not reached."""
    return max((finding.code for finding in findings), key=_BY_SEVERITY.index, default=0)


_BY_SEVERITY = (0, 1, 3, 2)
"""Exit codes, gravest last: an unreached server was not checked, and wrong settings lead to the wrong server."""
