"""Composition root of a node: builds its four layers from the settings, connects them, and runs its background tasks.

Nothing is created on import, and nothing outlives the `async with` block that created it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.audit.privacy.retention import expire
from service.cluster import leases
from service.cluster.bus import InProcessBus
from service.config.settings import Settings
from service.eventstore import notifications
from service.eventstore.appender import delete_old_refs
from service.eventstore.connections import CLOSE_WITHIN
from service.gateway.auth.jwks import PublishedKeys
from service.node.application import Application, build_application
from service.node.gateway import Gateway, build_gateway
from service.node.live import Live, build_live
from service.node.pipeline import after_remote_commit, subscribe_to_bus
from service.node.projection_lag import EVERY as LAG_EVERY
from service.node.storage import Storage, build_storage
from service.runtime import supervise

if TYPE_CHECKING:
    from service.tracing import Traces

PURGE_EVERY = 3600.0
"""Seconds between two runs of retention, and of the deletion of expired refs and leases."""

Work = Callable[[], Coroutine[Any, Any, object]]


@dataclass(frozen=True, kw_only=True)
class Node:
    """A running node, by layer."""

    storage: Storage
    live: Live
    application: Application
    gateway: Gateway
    traces: "Traces | None"


@asynccontextmanager
async def node(
    settings: Settings, bus: InProcessBus | None = None, traces: "Traces | None" = None
) -> AsyncIterator[Node]:
    """Run a node for as long as the block lasts. Nodes in one process may share a `bus` instead of Redis.

    `traces` records commands, commits and deliveries; the caller closes it.

    Raises:
        SchemaOutdated, UnsafeDurability: the database answers and is not fit to serve.
        KeyEncryptionKeyMissing, PrivilegesMissing: this node lacks a key of the log, or its login a privilege.
        asyncpg.PostgresError: the database refuses the login, or does not exist.
    """
    async with AsyncExitStack() as stack:
        storage = await build_storage(settings, stack)
        live = await build_live(settings, storage, bus or InProcessBus(), traces, stack)
        application = build_application(settings, storage, live, stack)
        gateway = build_gateway(settings, storage, live, application, traces, stack)
        subscribe_to_bus(
            live.relay,
            committed=after_remote_commit(live.hub, storage.serializer, traces),
            markers=application.marker_notices,
            typists=application.typing,
            presence=application.presence,
            rates=(application.shared_rate, application.shared_adds, application.shared_log_budget),
            tailer=application.tailer,
            receipts=gateway.receipts,
        )
        running = Node(storage=storage, live=live, application=application, gateway=gateway, traces=traces)
        await stack.enter_async_context(
            supervise.background(gateway.process.task_failures, **_tasks(settings, running))
        )
        # The server has drained its sessions by then, in four fifths of the drain time.
        seconds = max(CLOSE_WITHIN, settings.drain_seconds / 5)
        stack.push_async_callback(_leave, live, application, seconds)
        yield running


async def _leave(live: Live, application: Application, seconds: float) -> None:
    """Leave the cluster while the background tasks still run; all connections are closed by now."""
    application.presence.announce_leave()
    live.session_log.end_groups()
    await live.session_log.drain(seconds)
    await live.lease.end()


def _tasks(settings: Settings, running: Node) -> dict[str, Work]:
    """Return the background tasks of a node, by the name that logs show."""
    storage, live = running.storage, running.live
    application, gateway = running.application, running.gateway
    tasks: dict[str, Work] = {
        "append": live.appender.run,
        "relay": live.relay.run,
        "probe": live.relay.heartbeat.run,
        "ready": storage.readiness.run,
        "notify": lambda: _listen(settings, storage, application),
        "receipts": gateway.receipts.run,
        "presence": application.presence.run,
        "notices": application.presence.notify,
        "typing": application.typing.run,
        "rate": application.shared_rate.run,
        "adds": application.shared_adds.run,
        "budget": application.shared_log_budget.run,
        "tokens": live.sessions.run,
        "pulse": gateway.process.run,
    }
    if isinstance(gateway.keys, PublishedKeys):
        tasks["keys"] = gateway.keys.run
    return tasks | {name: _after(storage, work) for name, work in _log_tasks(settings, running).items()}


def _after(storage: Storage, work: Callable[[], Awaitable[object]]) -> Work:
    """Return work that begins once the log is ready."""
    return lambda: storage.readiness.run_when_ready(work)


def _log_tasks(settings: Settings, running: Node) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return the background tasks that need the log from their beginning."""
    live, application = running.live, running.application
    pool, serializer = running.storage.pool, running.storage.serializer
    deadline = settings.database_timeout

    async def expire_content() -> None:
        await expire(pool, serializer, by=f"node:{settings.node}", deadline=deadline)

    async def purge() -> None:
        await delete_old_refs(pool, deadline)
        await leases.purge(pool, deadline)

    return {
        "tail": application.tailer.run,
        # After a fencing all sessions are closed; presence is notified of renewals.
        "lease": lambda: live.lease.run(application.lifecycle.fenced, application.presence.lease_renewed),
        "visits": live.session_log.run,
        "reap": live.reaper.run,
        "clock": running.storage.clock.run,
        "lag": lambda: supervise.every(LAG_EVERY, running.gateway.lag.measure),
        "expire": lambda: supervise.every(PURGE_EVERY, expire_content),
        "purge": lambda: supervise.every(PURGE_EVERY, purge),
    }


async def _listen(settings: Settings, storage: Storage, application: Application) -> None:
    wake = [application.tailer.wake, application.waker.wake]
    await notifications.listen(storage.sessions.session, wake, settings.database_timeout)
