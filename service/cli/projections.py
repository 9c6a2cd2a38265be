"""The commands of the read models: run, status, verify."""

from collections.abc import Sequence

import asyncpg

from projections import check
from projections.engine.projector import Projector
from service.audit.proof import tree_store
from service.audit.proof.sealer import Sealer
from service.cli import output
from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer, UnknownTopic
from service.gateway.http.protocol import http_class
from service.node.projector import chosen, project, projector, sealer
from service.node.projector_metrics import ProjectorMetrics
from service.node.traces import traced
from service.observability import structured_logging
from service.observability.endpoint import aside
from service.observability.exposition import Exposition
from service.observability.process import Pulse
from service.runtime import supervise


def run_projector(settings: Settings, only: str | None) -> int:
    """`onrecord project run`: the projector, until it is told to stop."""
    structured_logging.configure(settings, words=False)

    async def run() -> None:
        async with traced(settings) as traces:
            following = projector(settings, only, watch=traces.projected if traces else None)
            sealing = None if only else sealer(settings)
            await _watched(settings, following, sealing)

    output.run(run())
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
            wanted = {projection.name for projection in chosen(names)}
            for line in await check.status(connection):
                if line["name"] in wanted:
                    output.print_json(line)
        finally:
            await connection.close()

    output.run(run())
    return 0


def run_project_verify(settings: Settings, names: Sequence[str]) -> int:
    """`onrecord project verify`: a JSON line per projection; 1 where one differs, or an event is unreadable."""

    async def run() -> bool:
        serializer = EventSerializer(KeyRing(settings.key_encryption_key))
        connection = await asyncpg.connect(settings.database_url, timeout=settings.database_timeout)
        try:
            results = [
                await check.verify(connection, serializer, projection, tree_store.changed)
                for projection in chosen(names)
            ]
        finally:
            await connection.close()
        for line in results:
            output.print_json(line)
        for position, reason in sorted(
            {(one["position"], one["reason"]) for line in results for one in line["unreadable"]}
        ):
            output.say(f"The event at position {position} is unreadable: {reason}.")
        return all(line["equal"] and not line["unreadable"] for line in results)

    try:
        return 0 if output.run(run()) else 1
    except UnknownTopic as topic:
        return output.say(
            f"The log holds {topic}, an event of a newer version: run that version's `project verify`."
        )
