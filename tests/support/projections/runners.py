"""A projection runner in the test's process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from projections.check import verify
from projections.engine.projection import Projection
from projections.engine.projector import run_each
from projections.engine.runner import Runner
from tests.support.oracles.projected_log import World
from tests.support.waiting import until


@asynccontextmanager
async def running(here: World, *runners: Runner) -> AsyncIterator[None]:
    task = asyncio.create_task(run_each(runners, here.connect))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def level(here: World, *runners: Runner) -> None:
    head = await here.head()
    await until(lambda: all(runner.position == head for runner in runners))


async def equal(here: World, *projections: Projection) -> bool:
    reports = [await verify(here.connection, here.node.serializer, projection) for projection in projections]
    return all(report["equal"] for report in reports)
