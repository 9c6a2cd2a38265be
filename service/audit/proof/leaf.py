"""The canonical encoding of a stored event as a leaf of the tree. Pure; fixed by known-answer tests.

    u8 1 | i64 position | text stream | i64 seq | text topic | text subject | i64 recorded_at | text by | sha256(state)

Numbers are big-endian, `recorded_at` is in microseconds since 1970 (UTC), a text is a u32 length and that many bytes of
UTF-8. Every field has a fixed size or a length prefix, so no two events have the same encoding. The two columns that
are not encoded, `originator_id` and `key_id`, follow from `stream` and `state` (`ids_match`).

Invariant: a leaf covers stored bytes only. Erasure changes no leaf.
"""

import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from service.audit.proof.merkle import leaf_hash
from service.domain.streams import stream_id
from service.encryption.person_key import is_sealed

VERSION = 1

COLUMNS = """
    notification_id AS position, stream, originator_version AS seq, topic, subject,
    timestamptz_send(recorded_at) AS at, recorded_by AS by
"""
"""The columns of `stored_events` that `of_row` reads; the time as stored bytes, so that every value can be read."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_POSTGRES_EPOCH = 946_684_800_000_000
"""Microseconds from 1970 to 2000, from which PostgreSQL counts."""

_HEAD = struct.Struct(">BqI")
_NUMBER_AND_LENGTH = struct.Struct(">qI")
_LENGTH = struct.Struct(">I")


class Leaf(NamedTuple):
    """The fields of a leaf. `at` is in microseconds since 1970, `state` is the SHA-256 of the stored bytes."""

    position: int
    stream: str
    seq: int
    topic: str
    subject: str
    at: int
    by: str
    state: bytes


def encode(leaf: Leaf) -> bytes:
    """Return the canonical bytes.

    Raises:
        struct.error: a number exceeds 64 bits.
    """
    stream, topic = leaf.stream.encode(), leaf.topic.encode()
    subject, by = leaf.subject.encode(), leaf.by.encode()
    return b"".join((
        _HEAD.pack(VERSION, leaf.position, len(stream)), stream,
        _NUMBER_AND_LENGTH.pack(leaf.seq, len(topic)), topic,
        _LENGTH.pack(len(subject)), subject,
        _NUMBER_AND_LENGTH.pack(leaf.at, len(by)), by,
        leaf.state,
    ))  # fmt: skip


def of_row(row: Mapping[str, Any], state: bytes) -> Leaf:
    """Return the leaf of a row with `COLUMNS`; `state` is the SHA-256 of its state."""
    at = microseconds(row["at"])
    return Leaf(
        row["position"], row["stream"], row["seq"], row["topic"], row["subject"], at, row["by"], state
    )


def hash_of_row(row: Mapping[str, Any], state: bytes) -> bytes | None:
    """Return the leaf hash of a row with `COLUMNS`; None if `chat_append` cannot have written it."""
    try:
        return leaf_hash(encode(of_row(row, digest(state))))
    except struct.error:
        return None


def microseconds(at: bytes) -> int:
    """Convert a time of `COLUMNS` to microseconds since 1970."""
    return int.from_bytes(at, "big", signed=True) + _POSTGRES_EPOCH


def ids_match(row: Mapping[str, Any]) -> bool:
    """Return whether a row's `originator_id` and `key_id` match its stream and state."""
    if row["originator_id"] != stream_id(row["stream"]):
        return False
    try:
        return keys_in(row["state"]) == ({row["key_id"]} - {None})
    except (msgspec.DecodeError, ValueError):
        return False


def keys_in(state: bytes) -> set[UUID]:
    """Return the ids of the keys that encrypt an event's personal fields (`service.encryption.keyring`).

    Raises:
        msgspec.DecodeError, ValueError: `state` is not an event.
    """
    fields = msgspec.json.decode(state, type=dict[str, Any])
    return {UUID(value["k"]) for value in fields.values() if is_sealed(value)}


def moment(at: int) -> datetime:
    """Convert a leaf's time to a datetime."""
    return _BEGINNING + timedelta(microseconds=at)


def digest(state: bytes) -> bytes:
    """Return the SHA-256 of an event's stored bytes."""
    return sha256(state).digest()
