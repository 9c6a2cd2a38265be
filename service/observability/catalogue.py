"""The catalogue of metrics: the only place that names one, and the source of `docs/reference/metrics.md`.

Names follow Prometheus' conventions: base units (seconds, bytes), `_total` for counters. Invariant: a label has few
values, known in advance; users, rooms and addresses are never labels.
"""

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """A metric; `labels` in the order in which their values are given."""

    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()


CATALOGUE: dict[str, Metric] = {
    # The process.
    "onrecord_build_info": Metric("gauge", "1, with the version and the node's name", ("version", "node")),
    "onrecord_loop_lag_seconds": Metric("histogram", "delay of the event loop in running a timer"),
    "onrecord_gc_pause_seconds": Metric("histogram", "duration of a garbage collection", ("generation",)),
    "onrecord_task_failures_total": Metric(
        "counter", "background tasks that failed and were restarted, by task", ("task",)
    ),
    # Endpoints.
    "onrecord_ready": Metric("gauge", "1 if the node accepts clients and has read the log in the last 10 s"),
    "onrecord_connections": Metric("gauge", "accepted connections", ("door",)),
    "onrecord_handshakes_total": Metric(
        "counter", "handshakes by outcome: ok, or the reason of the refusal", ("door", "outcome")
    ),
    "onrecord_requests_cut_total": Metric(
        "counter", "connections closed over a request: overdue, or with an oversized head", ("reason",)
    ),
    "onrecord_unauthenticated_bytes": Metric(
        "gauge", "bytes of unfinished input from clients that have not authenticated"
    ),
    "onrecord_unauthenticated_refused_total": Metric(
        "counter", "connections closed because there was no room for such input"
    ),
    "onrecord_closes_total": Metric(
        "counter", "connections that ended, by close code; 4008: the client was too slow", ("door", "code")
    ),
    "onrecord_commands_total": Metric(
        "counter", "commands by type and outcome: ok, or the error's code", ("type", "outcome")
    ),
    "onrecord_command_duration_seconds": Metric(
        "histogram", "from a command's frame to its answer", ("type",)
    ),
    "onrecord_outbox_bytes": Metric("gauge", "bytes queued for clients, over all connections"),
    "onrecord_outbox_largest_bytes": Metric("gauge", "bytes in the longest queue of one client"),
    # The log.
    "onrecord_commits_total": Metric("counter", "committed batches"),
    "onrecord_commit_duration_seconds": Metric("histogram", "from a batch's first try to its commit"),
    "onrecord_commit_events": Metric("histogram", "events in a committed batch"),
    "onrecord_commit_retries_total": Metric("counter", "tries of a batch that failed and were repeated"),
    "onrecord_entries_total": Metric(
        "counter", "requests to append by outcome; stale: a conflict", ("outcome",)
    ),
    "onrecord_append_queue_entries": Metric("gauge", "commands queued for the next commit"),
    "onrecord_append_queue_bytes": Metric("gauge", "their bytes"),
    "onrecord_pool_connections": Metric("gauge", "connections to Postgres", ("pool", "state")),
    "onrecord_pool_waiting": Metric("gauge", "calls that wait for a connection", ("pool",)),
    "onrecord_pool_wait_seconds": Metric(
        "histogram", "time that a call waited for its connection", ("pool",)
    ),
    "onrecord_lease_age_seconds": Metric(
        "gauge", "time since the node's lease was renewed; above 10 it is fenced"
    ),
    "onrecord_fencings_total": Metric(
        "counter", "times that this node was fenced because its lease had expired"
    ),
    "onrecord_unreadable_events_total": Metric(
        "counter", "events of the log that this process could not read"
    ),
    "onrecord_user_log_bytes_total": Metric(
        "counter", "bytes that users' commands appended to the log, as ONRECORD_LOG_BYTES_PER_DAY counts them"
    ),
    "onrecord_user_log_refusals_total": Metric(
        "counter", "commands refused because their user had appended ONRECORD_LOG_BYTES_PER_DAY that day"
    ),
    "onrecord_sessions_unrecorded": Metric("gauge", "sessions whose opening or closing is not recorded yet"),
    # Delivery.
    "onrecord_deliveries_total": Metric("counter", "events written to clients, counted for each client"),
    "onrecord_delivery_delay_seconds": Metric("histogram", "from an event's commit until this node wrote it"),
    "onrecord_rooms": Metric("gauge", "rooms in memory"),
    "onrecord_uring": Metric("gauge", "1 if one system call writes an event to many connections (io_uring)"),
    "onrecord_ring_bytes": Metric("gauge", "memory held by the latest events of the rooms in memory"),
    "onrecord_gap_reads_total": Metric(
        "counter", "reads of the log for events that did not arrive over the bus"
    ),
    # The bus.
    "onrecord_bus_up": Metric("gauge", "1 if the node receives from the bus"),
    "onrecord_bus_probe_age_seconds": Metric(
        "gauge", "time since the node last received its own probe over the bus"
    ),
    "onrecord_bus_queue_messages": Metric("gauge", "messages queued, to be sent or to be processed"),
    "onrecord_bus_messages_total": Metric("counter", "messages sent and received", ("direction",)),
    "onrecord_bus_dropped_total": Metric(
        "counter", "messages dropped: the queue was full or there was no connection"
    ),
    "onrecord_bus_ignored_total": Metric("counter", "messages without a valid signature"),
    "onrecord_bus_refused_total": Metric(
        "counter",
        "signed messages that were refused: another epoch or version, too old, or replayed",
        ("reason",),
    ),
    "onrecord_bus_resyncs_total": Metric(
        "counter", "times that the node connected to the bus and sent and requested the full state"
    ),
    # The read models, as a node sees them.
    "onrecord_projection_lag_events": Metric(
        "gauge", "positions that a read model is behind the log", ("projection",)
    ),
    "onrecord_projection_lag_seconds": Metric(
        "gauge", "age of the oldest event that the read model lacks", ("projection",)
    ),
    # The projector.
    "onrecord_projector_leading": Metric(
        "gauge", "1 if this projector writes the read model", ("projection",)
    ),
    "onrecord_projector_stopped": Metric(
        "gauge", "1 if the projection stopped at an event of a newer version", ("projection",)
    ),
    "onrecord_projector_position": Metric("gauge", "position of the projection", ("projection",)),
    "onrecord_projector_behind_events": Metric(
        "gauge", "positions behind the log at the last read", ("projection",)
    ),
    "onrecord_projector_events_total": Metric("counter", "events applied", ("projection",)),
    "onrecord_projector_failures_total": Metric("counter", "steps that failed", ("projection",)),
    "onrecord_projector_batch_duration_seconds": Metric(
        "histogram", "from reading a window of the log to its commit", ("projection",)
    ),
    "onrecord_sealer_leading": Metric("gauge", "1 if this projector seals the log"),
    "onrecord_sealer_lag_seconds": Metric(
        "gauge", "time since the whole log was sealed, if this projector seals it"
    ),
    "onrecord_sealed_events": Metric(
        "gauge", "events in the newest checkpoint, if this projector seals the log"
    ),
}
"""OnRecord's metrics. `prometheus_client` adds those of any process: `process_cpu_seconds_total` and others."""
