"""What a node does after a commit, after an event of another node, and after a change that it reads in the log.

This module is the one place that shows these effects: each is a list, in the order in which it happens.

Invariant: nothing here awaits between a commit and its delivery, so a room is delivered in the order of its commits.
"""

from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from service.cluster.relay import Relay
from service.domain.room_state import changes_more_than_head
from service.domain.streams import room_of
from service.encryption.keyring import KeyRing
from service.eventstore.entries import CommitResult
from service.eventstore.readiness import Readiness
from service.eventstore.serializer import EventSerializer, PeerRow
from service.gateway.auth.rate_limit import SharedRateLimit
from service.gateway.notices.memberships import MembershipNotifier
from service.gateway.notices.receipts import MARKER, UNREAD, MarkerNotices, ReceiptsResync
from service.gateway.session.registry import SessionRegistry
from service.presence import gossip, typing
from service.presence.presence import Presence
from service.presence.typing import Typing
from service.protocol.close_codes import Close
from service.realtime.hub import Hub
from service.realtime.log_tailer import LogTailer
from service.realtime.subscriber import Subscriber
from service.realtime.user_cache import UserCache

if TYPE_CHECKING:
    from service.tracing import Traces


def after_commit(
    hub: Hub, relay: Relay, notifier: MembershipNotifier, traces: "Traces | None"
) -> Callable[[CommitResult], None]:
    """Return what the appender calls after each commit of this node, before it answers the commands in it."""

    def committed(batch: CommitResult) -> None:
        began = monotonic()
        hub.deliver(batch.new_events)
        relay.announce(batch.written)
        notifier.after_commit(batch.new_events)
        if traces is not None:
            traces.committed(batch, began)

    return committed


def after_remote_commit(
    hub: Hub, serializer: EventSerializer, traces: "Traces | None"
) -> Callable[[str, list[PeerRow]], None]:
    """Return what the bus calls with the events of one stream that another node committed.

    The hub reads the log instead if an event needs a key that is not cached here, or changes members or settings. The
    latter decide what users may do, so this node takes them only from the log.
    """

    def received(stream: str, rows: list[PeerRow]) -> None:
        began = monotonic()
        events = [serializer.from_peer_row(stream, row) for row in rows]
        usable = [event for event in events if event is not None and not changes_more_than_head(event.event)]
        if usable and len(usable) == len(rows):
            hub.deliver_from_peer(room_of(stream), usable)
        elif rows:
            hub.feeds.mark_missing(room_of(stream), rows[-1].seq)
        if traces is not None:
            traces.delivered(stream, rows, began)

    return received


def close_misinformed(sessions: SessionRegistry, listeners: set[Subscriber]) -> None:
    """Close the sessions that received an event that is not in the log; the hub loads the room again."""
    for session in sessions.all():
        if session in listeners:
            session.close(Close.FENCED, "a room is loaded again; come back")


def after_restore(
    readiness: Readiness,
    hub: Hub,
    people: UserCache,
    keys: KeyRing,
    notifier: MembershipNotifier,
    markers: MarkerNotices,
    sessions: SessionRegistry,
) -> Callable[[str], None]:
    """Return what the log tailer calls with the new epoch of a log that was restored from a backup.

    All cached state belongs to the log before the restore, so it is dropped, and every client reconnects with its
    cursors.
    """

    def restored(epoch: str) -> None:
        readiness.set_epoch(epoch)
        hub.reset()
        people.clear()
        keys.clear()
        notifier.clear()
        markers.clear()
        for session in sessions.all():
            session.close(Close.FENCED, "the log was restored; come back")

    return restored


def subscribe_to_bus(
    relay: Relay,
    *,
    committed: Callable[[str, list[PeerRow]], None],
    markers: MarkerNotices,
    typists: Typing,
    presence: Presence,
    rates: Iterable[SharedRateLimit],
    tailer: LogTailer,
    receipts: ReceiptsResync,
) -> None:
    """Register the handler of each message that other nodes send, and of an outage of the bus."""
    relay.on_events(committed)
    relay.on_room(MARKER, markers.marker_moved_elsewhere)
    relay.on_room(UNREAD, markers.unread_elsewhere)
    relay.on_room(typing.START, typists.started_elsewhere)
    relay.on_room(typing.STOP, typists.stopped_elsewhere)
    for kind in gossip.KINDS:
        relay.on(kind, partial(presence.receive, kind))
    for rate in rates:
        relay.on(rate.kind, rate.spent_elsewhere)
    # Messages may have been lost: events are in the log, presence and receipts have to be exchanged again.
    relay.on_missed(tailer.wake)
    relay.heartbeat.on_resync(presence.resync)
    relay.heartbeat.on_resync(receipts.due)
