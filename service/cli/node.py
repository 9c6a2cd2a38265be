"""The commands that serve, and those that change the database of all nodes: `migrate` and `epoch --renew`."""

import argparse
import asyncio
import contextlib
import importlib
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import asyncpg

from migrations import newest
from service.cli import output
from service.cli.connection import connected, require_session
from service.cli.preconditions import WrongUsage
from service.config import development
from service.config.settings import Settings
from service.eventstore.notifications import CHANNEL
from service.observability import structured_logging
from service.runtime import supervise

if TYPE_CHECKING:
    from service.embedded import Servers  # comes with the development extra
    from service.node.workers import Parent


def run_serve(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord serve`: run one node, the parent of several (`--workers`), or one of these, until it is stopped."""
    from service.node import workers

    structured_logging.configure(settings, plain=False)
    if args.worker is not None:
        output.run(_serve_as_worker(settings, workers.Parent(args.worker)))
        return 0
    if args.workers > 1:
        return int(output.run(workers.run(settings, args.workers, _announce)))
    output.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    from service.node.server import Server, served

    async with served(settings) as node:
        await Server(settings, node.gateway, _announce).serve()


async def _serve_as_worker(settings: Settings, parent: "Parent") -> None:
    """Serve on a port that the workers share."""
    from service.node import workers
    from service.node.server import Server, served

    parent.watch()
    async with served(settings) as node:
        listener = workers.listener(settings.host, settings.port)
        await Server(settings, node.gateway, parent.ready).serve([listener])


def run_dev(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord dev`: start embedded servers, migrate, project and serve in one process, until it is stopped."""
    data_dir = development.prepare(settings.data_dir)
    try:
        from service import embedded
    except ModuleNotFoundError as problem:
        raise WrongUsage("`onrecord dev` and the tests need `pip install 'onrecord[dev]'`.") from problem
    if development.as_root():
        message = f"Running as root: the data is in {data_dir}; a separate system user runs the servers."
        print(message, file=sys.stderr)
    with _importing_node() as imported, embedded.servers(data_dir) as servers:
        imported()
        lent = development.known_settings(data_dir)
        settings = Settings.from_env(dev=True, join_creates=True, **lent)
        structured_logging.configure(settings, plain=True)
        if not _is_current(servers):
            from migrations.run import migrate

            migrate(servers.migrate_database_url, servers.database_url, servers.projector_database_url)
        output.run(_serve_and_project(settings, servers, partial(_welcome, data_dir)))
    return 0


@contextlib.contextmanager
def _importing_node() -> Iterator[Callable[[], None]]:
    """Import the node beside the block, which calls what it is given to wait for the end of the import.

    The servers take a quarter of a second to start, and so do these imports. Two threads must not import SQLAlchemy at
    the same time, since its modules import each other: an error leaves the block only when the import has ended.
    """
    importing = threading.Thread(target=_import_node)
    importing.start()
    try:
        yield importing.join
    finally:
        importing.join()


def _import_node() -> None:
    for module in ("service.node.server", "service.node.projector"):
        importlib.import_module(module)


def _is_current(servers: "Servers") -> bool:
    """Return whether a migration would change nothing: neither the schema nor the roles of the two logins."""
    import psycopg

    with psycopg.connect(servers.migrate_database_url) as connection:
        try:
            row = connection.execute(_CURRENT, [newest(), *servers.postgres.logins]).fetchone()
        except psycopg.errors.UndefinedTable:
            return False
    return row == (True,)


async def _serve_and_project(settings: Settings, servers: "Servers", ready: Callable[[str], None]) -> None:
    from service.node.projector import project, projector, sealer
    from service.node.server import Server, served

    async with supervise.background(servers=servers.watch), served(settings) as node:
        following = projector(settings, watch=node.traces.projected if node.traces else None)
        failures = node.gateway.process.task_failures
        async with supervise.background(
            failures, project=lambda: project(following, sealer(settings), failures)
        ):
            await Server(settings, node.gateway, ready).serve()


def run_migrate(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord migrate`: print the versions applied."""
    from migrations.run import migrate

    asyncio.run(require_session(settings, settings.migrate_database_url))
    urls = (settings.migrate_database_url, settings.database_url, settings.projector_database_url)
    for version in migrate(*urls, role_prefix=settings.database_role_prefix):
        print(version)
    login = urlsplit(settings.database_url).username
    if settings.projector_database_url and login == urlsplit(settings.projector_database_url).username:
        print(_ONE_LOGIN.format(login=unquote(login or "")), file=sys.stderr)
    return 0


def run_epoch(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord epoch`: print the log's epoch; with `--renew` a new one. 2: `--renew` without the owner's login.

    A restored log is a different log: it assigns the numbers that were assigned after the backup once more, to other
    events. By the new epoch clients and nodes recognize that their cursors belong to the old log.
    """
    try:
        print(asyncio.run(_epoch(settings, renew=args.renew)))
    except asyncpg.InsufficientPrivilegeError as problem:
        print(f"ONRECORD_MIGRATE_DATABASE_URL has to be the owner's: {problem}.", file=sys.stderr)
        return 2
    return 0


async def _epoch(settings: Settings, *, renew: bool) -> str:
    url = settings.migrate_database_url if renew else settings.database_url
    async with (
        asyncio.timeout(settings.database_timeout),
        connected(settings, url) as connection,
        connection.transaction(),
    ):
        if renew:
            await connection.execute(f"NOTIFY {CHANNEL}")  # running nodes read the epoch at once
        return str(await connection.fetchval(_RENEW if renew else "SELECT epoch FROM log_epoch"))


def _announce(address: str) -> None:
    print(f"OnRecord listens on {address}", flush=True)


def _welcome(data_dir: Path, address: str) -> None:
    """Print the address, and commands that work in any directory: with the paths of the program and the data."""
    program = Path(sys.executable).with_name("onrecord")
    command = f"ONRECORD_DATA_DIR={shlex.quote(str(data_dir))} {shlex.quote(str(program))}"
    print(
        f"\n  OnRecord is running: {address}\n\n"
        "  Open it in two browser windows, sign in under two names, join the same room and chat.\n"
        "  In another terminal, in any directory, a token for a program and the record of a room:\n\n"
        f"    {command} token --user alice\n"
        f"    {command} audit replay --room general\n\n"
        "  The address of the data for analysis:\n\n"
        f"    {command} analytics url\n\n"
        "  Ctrl-C stops it; the history stays.\n",
        flush=True,
    )


_ONE_LOGIN = (
    "ONRECORD_DATABASE_URL and ONRECORD_PROJECTOR_DATABASE_URL name one login, {login}: it may serve and seal, so an "
    "intruder on a node can stop the sealing. Give the projector a login of its own."
)
_CURRENT = """
    SELECT version_num = %s AND pg_has_role(app, 'onrecord_node', 'USAGE')
        AND pg_has_role(worker, 'onrecord_projector', 'USAGE') AND pg_has_role(worker, 'onrecord_sealer', 'USAGE')
        AND NOT pg_has_role(app, 'onrecord_projector', 'MEMBER') AND NOT pg_has_role(app, 'onrecord_sealer', 'MEMBER')
    FROM alembic_version, (VALUES (%s::name, %s::name)) AS logins (app, worker)
"""
_RENEW = "UPDATE log_epoch SET epoch = gen_random_uuid(), since = clock_timestamp() RETURNING epoch"
