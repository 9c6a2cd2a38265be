"""The commands of the read models: run, status, verify, rebuild."""

import argparse
import asyncio
import logging
from collections.abc import Sequence

from migrations.privileges import require_projector
from projections import PROJECTIONS, check
from projections.engine import rebuild
from projections.engine.projector import Projector
from service.audit.proof import tree_store
from service.audit.proof.sealer import Sealer
from service.cli import output
from service.cli.connection import connected, serializer_of
from service.cli.preconditions import WrongUsage
from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import UnknownTopic
from service.gateway.http.first_request import http_class
from service.gateway.transport.problem import application
from service.node.projector import ProjectorMetrics, chosen, project, projector, sealer
from service.node.traces import traced
from service.observability import structured_logging
from service.observability.endpoint import metrics_server
from service.observability.exposition import Exposition
from service.observability.process import ProcessMetrics
from service.runtime import supervise
from service.runtime.database_retry import TROUBLE, is_rejected, is_transient

PAUSE = 1.0
"""Seconds between two attempts to reach a database that is down when the projector starts."""

log = logging.getLogger("onrecord.project")


def run_projector(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord project run`: the projector, until it is stopped."""
    _require([args.only] if args.only else [])
    structured_logging.configure(settings, plain=False)

    async def run() -> None:
        async with traced(settings) as traces:
            following = projector(settings, args.only, watch=traces.projected if traces else None)
            await _run_with_metrics(settings, following, None if args.only else sealer(settings))

    output.run(run())
    return 0


async def _wait_for_database(settings: Settings) -> None:
    """Check the schema, the projector's login and its keys as soon as the database answers.

    Raises:
        SchemaOutdated: the schema is not the one that this program needs.
        KeyEncryptionKeyMissing: this process lacks a key of the log.
        PrivilegesMissing: the login lacks a privilege.
    """
    waits = False
    while True:
        try:
            return await _require_rights(settings)
        except TROUBLE as error:
            if not is_transient(error) or is_rejected(error):
                raise
            if not waits:
                log.warning("task_waits", extra={"task": "project", "problem": error})
            waits = True
        await asyncio.sleep(PAUSE)


async def _require_rights(settings: Settings) -> None:
    """Check the schema, the projector's login and its keys.

    Raises:
        SchemaOutdated, KeyEncryptionKeyMissing, PrivilegesMissing: as in `_wait_for_database`.
        An error of `TROUBLE`: the database did not answer.
    """
    async with (
        asyncio.timeout(settings.database_timeout),
        connected(settings, settings.projecting_url) as connection,
    ):
        own_login = settings.projecting_url not in (settings.database_url, settings.session_url)
        await require_projector(connection, own_login=own_login)
        await KeyRing(settings.key_encryption_key).require_all(connection)


async def _run_with_metrics(settings: Settings, following: Projector, sealing: Sealer | None) -> None:
    """Project once the database is checked; with a metrics server if one is configured."""
    process = ProcessMetrics(settings.node)
    numbers = ProjectorMetrics(runners=following.runners, sealer=sealing, damaged=following.damaged)
    exposition = Exposition(process.write, numbers.write)
    with process.watching_gc():
        async with (
            metrics_server(settings, exposition, http_class(), application),
            supervise.background(process.task_failures, pulse=process.run),
        ):
            await _wait_for_database(settings)
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


def run_rebuild(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord project rebuild`: a JSON line per projection whose rebuild is requested."""
    _require(args.names)

    async def run() -> None:
        async with connected(settings, settings.projecting_url) as connection:
            await rebuild.request(connection, chosen(args.names))
        for name in args.names:
            output.print_json({"name": name, "rebuild": "requested"})

    output.run(run())
    return 0


def _require(names: Sequence[str]) -> None:
    known = [projection.name for projection in PROJECTIONS]
    if unknown := [name for name in names if name not in known]:
        raise WrongUsage(f"There is no projection {unknown[0]}; choose from {', '.join(known)}.")
