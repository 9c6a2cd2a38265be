"""`onrecord doctor`: checks the settings and servers of an installation, and reports each finding in one sentence.

It uses the settings of its environment and the application's login, and changes nothing. A check is a function that
yields findings.

Invariant: a finding is a fact observed just now, with what to do about it. A check that cannot be run is a finding too.
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
    """Return the exit code of the most severe finding: 0; 1 a failure, 2 a wrong setting, 3 a server not reached."""
    return max((finding.code for finding in findings), key=_BY_SEVERITY.index, default=0)


_BY_SEVERITY = (0, 1, 3, 2)
"""Exit codes, most severe last: a server not reached was not checked, and wrong settings can name a wrong server."""
