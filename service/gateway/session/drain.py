"""Drains a node that stops: answers the received commands, then closes every connection with 4000.

While it runs, no socket is read. The closes are spread over time, so that thousands of clients do not reconnect at
the same moment.

Invariant: a drain takes no longer than the given time. A client whose command is not answered by then is closed too,
and sends the command again with the same `ref`.
"""

import asyncio
import logging

from service.gateway.session.registry import SessionRegistry
from service.gateway.session.session import Session
from service.protocol.close_codes import Close

CLOSES_A_SECOND = 2_000
AT_ONCE = 100
LOOK_EVERY = 0.02
"""Seconds between two checks for unanswered commands."""

log = logging.getLogger("onrecord.drain")


async def drain(sessions: SessionRegistry, seconds: float) -> None:
    """Answer the received commands, then close every session, within `seconds`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    present = sessions.all()
    for session in present:
        session.transport.hold()
    log.info("draining", extra={"connections": len(present), "seconds": seconds})
    # Up to half of the time is reserved for the closes.
    unanswered = await _answered(present, until - min(seconds / 2, len(present) / CLOSES_A_SECOND))
    if unanswered:
        log.warning("drained_unanswered", extra={"connections": unanswered})
    await _close(sessions.all(), until)


async def _answered(waiting: list[Session], until: float) -> int:
    """Wait until all commands are answered or the loop's time is `until`; return how many sessions wait for answers."""
    loop = asyncio.get_running_loop()
    while waiting := [session for session in waiting if not session.pending.answered]:
        if loop.time() >= until:
            break
        await asyncio.sleep(LOOK_EVERY)
    return len(waiting)


async def _close(present: list[Session], until: float) -> None:
    """Close sessions a few at a time; at the loop's time `until`, close all that remain."""
    loop = asyncio.get_running_loop()
    pause = min(AT_ONCE / CLOSES_A_SECOND, max(0.0, until - loop.time()) * AT_ONCE / max(1, len(present)))
    for number, session in enumerate(present, start=1):
        session.close(Close.SHUTTING_DOWN, "shutting down")
        if number % AT_ONCE == 0 and loop.time() < until:
            await asyncio.sleep(pause)
