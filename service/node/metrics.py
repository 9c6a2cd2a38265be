"""The metrics of a node, collected from its parts at each scrape."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from service.chat import LogBudget
from service.cluster.leases import Lease
from service.cluster.relay import Relay
from service.cluster.replay_filter import REFUSALS
from service.cluster.session_log import SessionLog
from service.eventstore.appender import Appender
from service.eventstore.connections import Pool
from service.eventstore.damage import Damaged
from service.eventstore.readiness import Readiness
from service.gateway.http.protocol import OVERDUE, OVERSIZED
from service.gateway.session.counters import Counters
from service.gateway.session.registry import SessionRegistry
from service.gateway.transport.receive_budget import ReceiveBudget
from service.node.projection_lag import Lag
from service.observability.exposition import Sheet
from service.realtime.hub import Hub
from service.runtime.direct_sockets import DirectSockets

DOORS = ("native", "socketio")


@dataclass(frozen=True, kw_only=True)
class NodeMetrics:
    """The parts of a node that have metrics; `pools` by name."""

    readiness: Readiness
    sessions: SessionRegistry
    counters: Counters
    receiving: ReceiveBudget
    appender: Appender
    pools: Mapping[str, Pool]
    lease: Lease
    session_log: SessionLog
    hub: Hub
    relay: Relay
    lag: Lag
    damaged: Damaged
    log_budget: LogBudget
    sockets: DirectSockets

    def write(self, sheet: Sheet) -> None:
        """Write all metrics; see `Source`."""
        self._doors(sheet)
        self._log(sheet)
        self._pools(sheet)
        self._delivery(sheet)
        self._bus(sheet)

    def _doors(self, sheet: Sheet) -> None:
        sheet.put("onrecord_ready", self.readiness.ready and self.lag.fresh)
        # Visits each session: about a millisecond for 10,000, and only at a scrape.
        sessions = self.sessions.all()
        doors = Counter(session.door for session in sessions)
        for door in DOORS:
            sheet.put("onrecord_connections", doors[door], door)
        outboxes = [session.transport.outbox for session in sessions]
        sheet.put("onrecord_outbox_bytes", sum(outboxes))
        sheet.put("onrecord_outbox_largest_bytes", max(outboxes, default=0))
        for (door, outcome), count in self.counters.handshakes.items():
            sheet.put("onrecord_handshakes_total", count, door, outcome)
        for reason in (OVERDUE, OVERSIZED):
            sheet.put("onrecord_requests_cut_total", self.counters.requests[reason], reason)
        sheet.put("onrecord_unauthenticated_bytes", self.receiving.held)
        sheet.put("onrecord_unauthenticated_refused_total", self.receiving.refused)
        for (door, code), count in self.counters.closes.items():
            sheet.put("onrecord_closes_total", count, door, str(code))
        for (kind, outcome), count in self.counters.commands.items():
            sheet.put("onrecord_commands_total", count, kind, outcome)
        for kind, seconds in self.counters.command_seconds.items():
            sheet.put("onrecord_command_duration_seconds", seconds, kind)

    def _log(self, sheet: Sheet) -> None:
        appender = self.appender
        sheet.put("onrecord_commits_total", sum(appender.commits.counts))
        sheet.put("onrecord_commit_duration_seconds", appender.commits)
        sheet.put("onrecord_commit_events", appender.batches)
        sheet.put("onrecord_commit_retries_total", appender.retries)
        for outcome, count in appender.outcomes.items():
            sheet.put("onrecord_entries_total", count, outcome)
        sheet.put("onrecord_entries_total", appender.unavailable, "unavailable")
        sheet.put("onrecord_append_queue_entries", appender.queued)
        sheet.put("onrecord_append_queue_bytes", appender.queued_bytes)
        if self.lease.renewed_at is not None:
            age = asyncio.get_running_loop().time() - self.lease.renewed_at
            sheet.put("onrecord_lease_age_seconds", age)
        sheet.put("onrecord_unreadable_events_total", self.damaged.count)
        sheet.put("onrecord_fencings_total", self.lease.fencings)
        sheet.put("onrecord_user_log_bytes_total", self.log_budget.appended)
        sheet.put("onrecord_user_log_refusals_total", self.log_budget.refused)
        sheet.put("onrecord_sessions_unrecorded", self.session_log.waiting)

    def _pools(self, sheet: Sheet) -> None:
        for name, pool in self.pools.items():
            size, idle = pool.get_size(), pool.get_idle_size()
            sheet.put("onrecord_pool_connections", idle, name, "idle")
            sheet.put("onrecord_pool_connections", size - idle, name, "used")
            sheet.put("onrecord_pool_waiting", pool.waiting, name)
            sheet.put("onrecord_pool_wait_seconds", pool.waits, name)

    def _delivery(self, sheet: Sheet) -> None:
        sheet.put("onrecord_deliveries_total", self.hub.deliveries)
        sheet.put("onrecord_delivery_delay_seconds", self.hub.delays)
        sheet.put("onrecord_rooms", len(self.hub.feeds.by_room))
        sheet.put("onrecord_uring", self.sockets.by_ring)
        sheet.put("onrecord_ring_bytes", self.hub.rings.held)
        sheet.put("onrecord_gap_reads_total", self.hub.feeds.repairs.reads)

    def _bus(self, sheet: Sheet) -> None:
        relay = self.relay
        sheet.put("onrecord_bus_up", relay.heartbeat.receiving)
        sheet.put("onrecord_bus_probe_age_seconds", relay.heartbeat.silence)
        sheet.put("onrecord_bus_queue_messages", relay.queued)
        sheet.put("onrecord_bus_messages_total", relay.published, "out")
        sheet.put("onrecord_bus_messages_total", relay.filter.received, "in")
        sheet.put("onrecord_bus_dropped_total", relay.dropped)
        sheet.put("onrecord_bus_ignored_total", relay.filter.refused["forged"])
        for reason in REFUSALS:
            sheet.put("onrecord_bus_refused_total", relay.filter.refused[reason], reason)
        sheet.put("onrecord_bus_resyncs_total", relay.heartbeat.resyncs)
