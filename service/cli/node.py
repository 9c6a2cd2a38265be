"""The commands that serve, and `onrecord migrate`."""

from typing import TYPE_CHECKING

from service.cli import output
from service.config.settings import Settings
from service.node import workers
from service.node.projector import project, projector, sealer
from service.observability import structured_logging
from service.runtime import supervise

if TYPE_CHECKING:
    from service.embedded import Servers  # comes with the development extra
from migrations.run import migrate
from service.node.server import Server, served


def run_serve(settings: Settings) -> int:
    """`onrecord serve`: a node, until it is told to stop."""
    structured_logging.configure(settings, words=False)

    async def run() -> None:
        async with served(settings) as node:
            await Server(settings, node.gateway, _say_ready).serve()

    output.run(run())
    return 0


def run_worker(settings: Settings, parent: workers.Parent) -> int:
    """A worker of `onrecord serve --workers N`: a node on a port that others share."""
    structured_logging.configure(settings, words=False)

    async def run() -> None:
        parent.watch()
        async with served(settings) as node:
            listener = workers.listener(settings.host, settings.port)
            await Server(settings, node.gateway, parent.ready).serve([listener])

    output.run(run())
    return 0


def run_workers(settings: Settings, count: int) -> int:
    """`onrecord serve --workers N`: their parent, until it is told to stop."""
    structured_logging.configure(settings, words=False)
    return int(output.run(workers.run(settings, count, _say_ready)))


def run_dev(settings: Settings, servers: "Servers") -> int:
    """`onrecord dev`: migrate, project and serve, over embedded servers that the caller runs."""
    structured_logging.configure(settings, words=True)
    migrate(servers.migrate_database_url, servers.database_url, servers.projector_database_url)

    async def run() -> None:
        async with supervise.background(servers=servers.watch), served(settings) as node:
            following = projector(settings, watch=node.traces.projected if node.traces else None)
            async with supervise.background(project=lambda: project(following, sealer(settings))):
                await Server(settings, node.gateway, _welcome).serve()

    output.run(run())
    return 0


def run_migrate(settings: Settings) -> int:
    """`onrecord migrate`: print the versions applied."""
    for version in migrate(
        settings.migrate_database_url, settings.database_url, settings.projector_database_url
    ):
        print(version)
    return 0


def _say_ready(address: str) -> None:
    print(f"OnRecord listens on {address}", flush=True)


def _welcome(address: str) -> None:
    print(
        f"\n  OnRecord is running: {address}\n\n"
        "  Open it in two browser windows, sign in under two names, join the same room and chat.\n"
        "  A token for a program:   onrecord token --user alice\n"
        "  The record of a room:    onrecord audit replay --room general\n"
        "  Ctrl-C stops it; the history stays.\n",
        flush=True,
    )
