"""What follows a commit happens in the documented order."""

from typing import Any, cast
from unittest.mock import Mock, call

from service.eventstore.entries import CommitResult
from service.node import pipeline
from service.protocol.close_codes import Close

BATCH = CommitResult([], {"room:a": []}, {"room:a": []})


async def test_a_commit_is_delivered_then_published_then_noticed_then_traced() -> None:
    parts = Mock()
    committed = pipeline.after_commit(parts.hub, parts.relay, parts.notifier, parts.traces)
    committed(BATCH)
    began = parts.traces.committed.call_args.args[1]
    assert parts.mock_calls == [
        call.hub.deliver(BATCH.new_events),
        call.relay.announce(BATCH.written),
        call.notifier.after_commit(BATCH.new_events),
        call.traces.committed(BATCH, began),
    ]


async def test_remote_events_are_delivered_then_traced() -> None:
    parts = Mock()
    row = cast("Any", Mock(seq=3))
    parts.serializer.from_peer_row.return_value = None  # its key is not cached
    received = pipeline.after_remote_commit(parts.hub, parts.serializer, parts.traces)
    received("room:a", [row])
    assert [name for name, _, _ in parts.mock_calls] == [
        "serializer.from_peer_row",
        "hub.feeds.mark_missing",
        "traces.delivered",
    ]
    parts.hub.feeds.mark_missing.assert_called_once_with("a", 3)


def test_every_bus_message_and_outage_has_its_handlers_once() -> None:
    relay = Mock()
    pipeline.subscribe_to_bus(
        relay,
        committed=Mock(),
        markers=Mock(),
        typists=Mock(),
        presence=Mock(),
        rates=[Mock(kind="limits.spent"), Mock(kind="limits.added")],
        tailer=Mock(),
        receipts=Mock(),
    )
    kinds = [one.args[0] for one in (*relay.on.call_args_list, *relay.on_room.call_args_list)]
    assert len(kinds) == len(set(kinds))
    assert relay.on_events.call_count == 1
    assert (relay.on_missed.call_count, relay.heartbeat.on_resync.call_count) == (1, 2)


def test_a_restore_drops_all_cached_state_before_it_closes_the_sessions() -> None:
    parts = Mock()
    parts.sessions.all.return_value = [parts.session]
    restored = pipeline.after_restore(
        parts.readiness, parts.hub, parts.people, parts.keys, parts.notifier, parts.markers, parts.sessions
    )
    restored("epoch")
    assert parts.mock_calls == [
        call.readiness.set_epoch("epoch"),
        call.hub.reset(),
        call.people.clear(),
        call.keys.clear(),
        call.notifier.clear(),
        call.markers.clear(),
        call.sessions.all(),
        call.session.close(Close.FENCED, "the log was restored; come back"),
    ]
