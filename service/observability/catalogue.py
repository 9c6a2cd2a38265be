"""Every metric by name: the only place where one is named, and what `docs/reference/metrics.md` has in its table.

Names follow Prometheus' conventions: base units (seconds, bytes), `_total` for what only grows. The rule: labels have
few values, known beforehand; no user, room or address is ever one.
"""

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """What a metric is; `labels` in the order in which their values are given."""

    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()


CATALOGUE: dict[str, Metric] = {
    # The process.
    "onrecord_build_info": Metric("gauge", "1, with the version and the node's name", ("version", "node")),
    "onrecord_loop_lag_seconds": Metric("histogram", "how late the event loop came to a timer"),
    "onrecord_gc_pause_seconds": Metric("histogram", "how long a garbage collection took", ("generation",)),
    # The doors.
    "onrecord_ready": Metric(
        "gauge", "1 where the node lets clients in, and has read the log in the last 10 s"
    ),
    "onrecord_connections": Metric("gauge", "connections that have been let in", ("door",)),
    "onrecord_handshakes_total": Metric(
        "counter", "who came, and what became of it: ok, or why not", ("door", "outcome")
    ),
    "onrecord_requests_cut_total": Metric(
        "counter", "connections closed over a request: overdue, or with an oversized head", ("reason",)
    ),
    "onrecord_closes_total": Metric(
        "counter", "connections that ended, by close code; 4008 was too slow", ("door", "code")
    ),
    "onrecord_commands_total": Metric(
        "counter", "commands by type and outcome: ok, or the error's code", ("type", "outcome")
    ),
    "onrecord_command_duration_seconds": Metric(
        "histogram", "from a command's frame to its answer", ("type",)
    ),
    "onrecord_outbox_bytes": Metric("gauge", "bytes that wait for clients, over all connections"),
    "onrecord_outbox_largest_bytes": Metric("gauge", "bytes that wait for the client for which most wait"),
    # The log.
    "onrecord_commits_total": Metric("counter", "batches that were committed"),
    "onrecord_commit_duration_seconds": Metric("histogram", "from a batch's first try to its commit"),
    "onrecord_commit_events": Metric("histogram", "events in a committed batch"),
    "onrecord_commit_retries_total": Metric("counter", "tries of a batch that failed and were made again"),
    "onrecord_entries_total": Metric(
        "counter", "what became of what was offered to the log; stale was a conflict", ("outcome",)
    ),
    "onrecord_append_queue_entries": Metric("gauge", "commands that wait for the next commit"),
    "onrecord_append_queue_bytes": Metric("gauge", "their bytes"),
    "onrecord_pool_connections": Metric("gauge", "connections to Postgres", ("pool", "state")),
    "onrecord_pool_waiting": Metric("gauge", "who waits for a connection now", ("pool",)),
    "onrecord_pool_wait_seconds": Metric("histogram", "how long a use waited for its connection", ("pool",)),
    "onrecord_lease_age_seconds": Metric("gauge", "since the node's lease was renewed; past 10 it is fenced"),
    "onrecord_fencings_total": Metric("counter", "how often this node was taken for dead"),
    "onrecord_unreadable_events_total": Metric(
        "counter", "events of the log that this process met and could not read"
    ),
    "onrecord_sessions_unrecorded": Metric("gauge", "sessions whose opening or closing waits to be recorded"),
    # Delivery.
    "onrecord_deliveries_total": Metric("counter", "events written to clients, once for each client"),
    "onrecord_delivery_delay_seconds": Metric(
        "histogram", "from an event's commit until it was written here"
    ),
    "onrecord_rooms": Metric("gauge", "rooms in memory"),
    "onrecord_gap_reads_total": Metric("counter", "looks at the log for events that did not come"),
    # The bus.
    "onrecord_bus_up": Metric("gauge", "1 where the node hears the others"),
    "onrecord_bus_probe_age_seconds": Metric("gauge", "since the node last heard itself over the bus"),
    "onrecord_bus_queue_messages": Metric("gauge", "messages that wait, to leave or to be taken"),
    "onrecord_bus_messages_total": Metric(
        "counter", "messages that left and that were taken", ("direction",)
    ),
    "onrecord_bus_dropped_total": Metric("counter", "messages for which there was no room or no connection"),
    "onrecord_bus_ignored_total": Metric("counter", "messages that none of ours has signed"),
    "onrecord_bus_refused_total": Metric(
        "counter",
        "signed messages that are refused: of another epoch or version, old, or held back",
        ("reason",),
    ),
    "onrecord_bus_resyncs_total": Metric(
        "counter", "how often the node began to hear, with everything told anew"
    ),
    # The read models, as a node sees them.
    "onrecord_projection_lag_events": Metric(
        "gauge", "positions of the log that a read model lacks", ("projection",)
    ),
    "onrecord_projection_lag_seconds": Metric(
        "gauge", "age of the oldest event that it lacks", ("projection",)
    ),
    # The projector.
    "onrecord_projector_leading": Metric("gauge", "1 where this projector writes it", ("projection",)),
    "onrecord_projector_stopped": Metric(
        "gauge", "1 where it met an event of a newer version", ("projection",)
    ),
    "onrecord_projector_position": Metric("gauge", "the position that it has come to", ("projection",)),
    "onrecord_projector_behind_events": Metric(
        "gauge", "positions that it lacked when it last looked", ("projection",)
    ),
    "onrecord_projector_events_total": Metric("counter", "events that it applied", ("projection",)),
    "onrecord_projector_failures_total": Metric("counter", "steps that failed", ("projection",)),
    "onrecord_projector_batch_duration_seconds": Metric(
        "histogram", "from taking a piece of the log to its commit", ("projection",)
    ),
    "onrecord_sealer_leading": Metric("gauge", "1 where this projector seals the log"),
    "onrecord_sealer_lag_seconds": Metric("gauge", "since all that was there was sealed, where it leads"),
    "onrecord_sealed_events": Metric("gauge", "events in the newest checkpoint, where it leads"),
}
"""Every metric of our own. `prometheus_client` adds those of any process: `process_cpu_seconds_total` and others."""
