"""The stored format is a contract: today's code reads every row that an earlier version stored, without any server."""

from datetime import UTC, datetime, timedelta
from typing import Any

from service.audit.history.format import as_json
from service.audit.proof import leaf
from service.audit.proof.merkle import leaf_hash
from service.config.settings import Settings
from service.domain.events import EVENTS
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer
from tests.support.corpus.kept import Corpus

POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def serializer(corpus: Corpus) -> EventSerializer:
    settings = Settings.from_env({"ONRECORD_KEY_ENCRYPTION_KEY": corpus.key_encryption_keys})
    return EventSerializer(KeyRing(settings.key_encryption_key))


def test_every_stored_row_reads_as_it_did(corpus: Corpus) -> None:
    reader = serializer(corpus)
    lines = [as_json(reader.to_recorded(row), stream=True).decode() for row in corpus.readable_rows()]
    assert len(lines) == corpus.about["events"]
    assert lines == corpus.expected["log"]


def test_the_corpus_holds_every_event_of_its_version(corpus: Corpus) -> None:
    stored = {row["topic"] for row in corpus.rows("stored_events")}
    assert stored <= EVENTS.keys(), "a released event is never lost"
    if corpus.place.name == "7fa1890":
        assert len(stored) == 34


def test_every_stored_row_is_the_leaf_that_was_sealed(corpus: Corpus) -> None:
    found = [
        leaf_hash(leaf.encode(leaf.of_row(_columns(row), leaf.digest(row["state"]))))
        for row in _stored(corpus)
    ]
    seals = sorted(corpus.rows("seals"), key=lambda seal: int(seal["size"] or 0))
    sealed = bytes.fromhex("".join((seal["hashes"] or "").removeprefix(r"\x") for seal in seals))
    assert b"".join(found) == sealed


def _stored(corpus: Corpus) -> list[dict[str, Any]]:
    """Return the rows with the bytes that are stored; later re-encryption does not change them."""
    states = {row["notification_id"]: row["state"] for row in corpus.rows("stored_events")}
    return [
        {**row, "state": bytes.fromhex((states[str(row["notification_id"])] or "").removeprefix(r"\x"))}
        for row in corpus.readable_rows()
    ]


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as `leaf.COLUMNS` selects it."""
    at = (row["recorded_at"] - POSTGRES_EPOCH) // timedelta(microseconds=1)
    return {
        **row,
        "position": row["notification_id"],
        "seq": row["originator_version"],
        "at": at.to_bytes(8, "big", signed=True),
        "by": row["recorded_by"],
    }
