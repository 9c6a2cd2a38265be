"""`onrecord doctor`: what is wrong, or will be, said in one sentence each before anybody is hurt.

It looks at everything from outside, as the application's login and with the settings of this very environment, and
changes nothing. Each part looks at one server; a check is a function that returns findings.

The rule: a finding is a fact that was seen just now, with what to do about it. What cannot be known is said to be so.
"""

import asyncio

from service.config.settings import Settings
from service.doctor import configuration, postgres, provider, redis
from service.doctor.finding import Finding, Level


def run_doctor(settings: Settings) -> int:
    """`onrecord doctor`: a line per check. Returns 0; 1 where one failed, 2 for a setting, 3 for a server unreached."""
    code = 0
    for finding in asyncio.run(examine(settings)):
        print(finding)  # noqa: T201 - a command's output
        code = max(code, finding.code, key=_BY_WEIGHT.index)
    return code


async def examine(settings: Settings) -> list[Finding]:
    """Return what was found, part by part."""
    parts = await asyncio.gather(*(part.examine(settings) for part in (provider, postgres, redis)))
    return [*configuration.examine(settings), *(finding for part in parts for finding in part)]


_BY_WEIGHT = (0, 1, 3, 2)
"""Exit codes, the gravest last: what cannot be reached was not checked, and wrong settings look at the wrong thing."""

__all__ = ["Finding", "Level", "examine", "run_doctor"]
