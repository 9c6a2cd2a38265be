"""Opens the traces of a process, if they are configured."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.config.settings import Settings

if TYPE_CHECKING:
    from service.tracing import Traces


@asynccontextmanager
async def traced(settings: Settings) -> AsyncIterator["Traces | None"]:
    """Yield the traces of this process, None if tracing is off; `service.cli` reports a missing extra."""
    if not settings.traces_url:
        yield None
        return
    from service.tracing import traces_to  # noqa: PLC0415 - an optional extra

    traces = traces_to(settings.traces_url, settings.node, settings.traces_ratio)
    try:
        yield traces
    finally:
        await traces.close()
