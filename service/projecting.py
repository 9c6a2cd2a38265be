"""What the commands about read models run, put together from the parts; beside `service.app`, under the same rule."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from projections import PROJECTIONS, check
from projections.projector import Projector
from projections.runner import Watch
from service import console, logs, supervise
from service.audit import seals
from service.audit.sealer import Sealer
from service.log.keys import KeyRing
from service.log.mapper import Mapper, UnknownTopic
from service.metrics.endpoint import aside
from service.metrics.exposition import Exposition
from service.metrics.process import Pulse
from service.parts import traced
from service.proving import sealer
from service.scrape.projector import ProjectorMetrics
from service.settings import Settings
from service.wire.requests import http_class


def run_projector(settings: Settings, only: str | None) -> int:
    """`onrecord project run`: the projector, until it is told to stop."""
    logs.configure(settings, words=False)

    async def run() -> None:
        async with traced(settings) as traces:
            following = projector(settings, only, watch=traces.projected if traces else None)
            sealing = None if only else sealer(settings)
            await _watched(settings, following, sealing)

    console.run(run())
    return 0


async def _watched(settings: Settings, following: Projector, sealing: Sealer | None) -> None:
    """Project, with the metrics aside where that is set."""
    pulse, numbers = (
        Pulse(settings.node),
        ProjectorMetrics(runners=following.runners, sealer=sealing, damaged=following.damaged),
    )
    exposition = Exposition(pulse.write, numbers.write)
    with pulse.watching_gc():
        async with aside(settings, exposition, http_class()), supervise.background(pulse=pulse.run):
            await project(following, sealing)


def run_project_status(settings: Settings, names: Sequence[str]) -> int:
    """`onrecord project status`: a JSON line per projection."""

    async def run() -> None:
        connection = await asyncpg.connect(settings.database_url, timeout=settings.database_timeout)
        try:
            wanted = {projection.name for projection in _chosen(names)}
            for line in await check.status(connection):
                if line["name"] in wanted:
                    console.print_json(line)
        finally:
            await connection.close()

    console.run(run())
    return 0


def run_project_verify(settings: Settings, names: Sequence[str]) -> int:
    """`onrecord project verify`: a JSON line per projection; 1 where one differs, or an event is unreadable."""

    async def run() -> bool:
        mapper = Mapper(KeyRing(settings.key_encryption_key))
        connection = await asyncpg.connect(settings.database_url, timeout=settings.database_timeout)
        try:
            results = [
                await check.verify(connection, mapper, projection, seals.changed)
                for projection in _chosen(names)
            ]
        finally:
            await connection.close()
        for line in results:
            console.print_json(line)
        for position, reason in sorted(
            {(one["position"], one["reason"]) for line in results for one in line["unreadable"]}
        ):
            console.say(f"The event at position {position} is unreadable: {reason}.")
        return all(line["equal"] and not line["unreadable"] for line in results)

    try:
        return 0 if console.run(run()) else 1
    except UnknownTopic as topic:
        return console.say(
            f"The log holds {topic}, an event of a newer version: run that version's `project verify`."
        )


async def project(following: Projector, sealing: Sealer | None) -> None:
    """The projections, and beside them all the sealer, which follows the log as they do."""
    if sealing is None:
        await following.run()
    else:
        async with supervise.background(seal=sealing.run):
            await following.run()


def projector(settings: Settings, only: str | None = None, watch: Watch | None = None) -> Projector:
    """Return the projector, of one read model alone where that is named."""
    return Projector(
        lambda: asyncpg.connect(settings.projecting_url, timeout=settings.database_timeout),
        Mapper(KeyRing(settings.key_encryption_key)),
        _chosen([only] if only else []),
        settings.catchup_interval,
        watch,
        seals.changed,
    )


def _chosen(names: Sequence[str]) -> list[Any]:
    known = {projection.name: projection for projection in PROJECTIONS}
    return [known[name] for name in names] if names else list(known.values())
