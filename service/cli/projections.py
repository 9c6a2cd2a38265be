"""The commands of the read models: run, status, verify."""

import argparse
import asyncio
import logging
from collections.abc import Sequence

from migrations.privileges import require_projector
from projections import PROJECTIONS, check
from projections.engine.projector import Projector
from service.audit.proof import tree_store
from service.audit.proof.sealer import Sealer
from service.cli import output
from service.cli.connection import connected, serializer_of
from service.cli.preconditions import WrongUsage
from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.eventstore.readiness import PAUSE
from service.eventstore.serializer import UnknownTopic
from service.gateway.http.protocol import http_class
from service.gateway.transport.problem import application
from service.node.projector import ProjectorMetrics, chosen, project, projector, sealer
from service.node.traces import traced
from service.observability import structured_logging
from service.observability.endpoint import metrics_server
from service.observability.exposition import Exposition
from service.observability.process import ProcessMetrics
from service.runtime import supervise
from service.runtime.database_retry import TROUBLE, is_rejected, is_transient

log = logging.getLogger("onrecord.project")


def run_projector(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord project run`: the projector, until it is stopped."""
    _require([args.only] if args.only else [])
    structured_logging.configure(settings, plain=False)

    async def run() -> None:
        problem = await _unreached(settings)
        async with traced(settings) as traces:
            following = projector(settings, args.only, watch=traces.projected if traces else None)
            await _run_with_metrics(settings, following, None if args.only else sealer(settings), problem)

    output.run(run())
    return 0


async def _unreached(settings: Settings) -> Exception | None:
    """Check the schema, the projector's login and its keys; return why the database does not answer now, or None.

    Raises:
        SchemaOutdated: the schema is not the one that this program needs.
        KeyEncryptionKeyMissing: this process lacks a key of the log.
        PrivilegesMissing: the login lacks a privilege.
    """
    try:
        async with (
            asyncio.timeout(settings.database_timeout),
            connected(settings, settings.projecting_url) as connection,
        ):
            await require_projector(
                connection,
                own_login=settings.projecting_url not in (settings.database_url, settings.session_url),
            )
            await KeyRing(settings.key_encryption_key).require_all(connection)
    except TROUBLE as error:
        if not is_transient(error) or is_rejected(error):
            raise
        return error
    return None


async def _run_with_metrics(
    settings: Settings, following: Projector, sealing: Sealer | None, problem: Exception | None
) -> None:
    """Project, with a metrics server if one is configured; first wait for the database if there is a `problem`."""
    process = ProcessMetrics(settings.node)
    numbers = ProjectorMetrics(runners=following.runners, sealer=sealing, damaged=following.damaged)
    exposition = Exposition(process.write, numbers.write)
    with process.watching_gc():
        async with (
            metrics_server(settings, exposition, http_class(), application),
            supervise.background(process.task_failures, pulse=process.run),
        ):
            if problem is not None:
                log.warning("not_ready", extra={"problem": problem})
                while await _unreached(settings) is not None:  # noqa: ASYNC110 - the database announces nothing
                    await asyncio.sleep(PAUSE)
                log.warning("ready")
            await project(following, sealing, process.task_failures)


def run_status(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord project status`: a JSON line per projection."""
    _require(args.names)

    async def run() -> None:
        wanted = {projection.name for projection in chosen(args.names)}
        async with connected(settings) as connection:
            for line in await check.status(connection):
                if line["name"] in wanted:
                    output.print_json(line)

    output.run(run())
    return 0


def run_verify(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord project verify`: a JSON line per projection; 1: a projection differs, or an event is unreadable."""
    _require(args.names)

    async def run() -> bool:
        serializer = serializer_of(settings)
        async with connected(settings) as connection:
            results = [
                await check.verify(connection, serializer, projection, tree_store.changed)
                for projection in chosen(args.names)
            ]
        for line in results:
            output.print_json(line)
        unreadable = {
            (event["position"], event["reason"]) for line in results for event in line["unreadable"]
        }
        for position, reason in sorted(unreadable):
            output.complain(f"The event at position {position} is unreadable: {reason}.")
        return all(line["equal"] and not line["unreadable"] for line in results)

    try:
        return 0 if output.run(run()) else output.FOUND
    except UnknownTopic as topic:
        return output.complain(
            f"The log holds {topic}, an event of a newer version: run that version's `project verify`."
        )


def _require(names: Sequence[str]) -> None:
    known = [projection.name for projection in PROJECTIONS]
    if unknown := [name for name in names if name not in known]:
        raise WrongUsage(f"There is no projection {unknown[0]}; choose from {', '.join(known)}.")
