"""The bytes of a leaf, frozen: every proof ever given rests on them."""

from hashlib import sha256
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.audit.proof import leaf
from service.audit.proof.leaf import Leaf, encode
from service.audit.proof.merkle import leaf_hash
from tests.support.servers.databases import Database

KNOWN = Leaf(
    position=7,
    stream="room:general",
    seq=3,
    topic="room.MessagePosted.v1",
    subject="message:3",
    at=1_767_225_600_123_456,
    by="alice",
    state=sha256(b'{"author":"alice"}').digest(),
)
numbers = st.integers(-(2**63), 2**63 - 1)
leaves = st.builds(
    Leaf,
    position=numbers,
    stream=st.text(),
    seq=numbers,
    topic=st.text(),
    subject=st.text(),
    at=numbers,
    by=st.text(),
    state=st.binary(min_size=32, max_size=32),
)


def test_a_leaf_has_these_bytes() -> None:
    assert (
        encode(KNOWN)
        == (
            b"\x01"
            b"\x00\x00\x00\x00\x00\x00\x00\x07"
            b"\x00\x00\x00\x0croom:general"
            b"\x00\x00\x00\x00\x00\x00\x00\x03"
            b"\x00\x00\x00\x15room.MessagePosted.v1"
            b"\x00\x00\x00\x09message:3"
            b"\x00\x06\x47\x48\x46\x22\x22\x40"
            b"\x00\x00\x00\x05alice"
        )
        + sha256(b'{"author":"alice"}').digest()
    )


def test_a_leaf_has_this_hash() -> None:
    assert (
        leaf_hash(encode(KNOWN)).hex() == "fea0dd9820466e9317f02bab69f3c1c5aaa461b96586969cb75af087abc1162f"
    )
    strange = Leaf(2**63 - 1, "room:a:b", -1, "", "user:\N{OLD PERSIAN NUMBER HUNDRED}", -1, "é|é", bytes(32))
    assert (
        leaf_hash(encode(strange)).hex() == "638f0abc3f5037204ec01ebbf3af91e931e3535f39b663da743cec6a96bf7297"
    )


@given(leaves, leaves)
def test_different_events_have_different_bytes(one: Leaf, other: Leaf) -> None:
    assert (encode(one) == encode(other)) == (one == other)


@given(leaves)
def test_what_stands_in_one_field_cannot_be_moved_to_the_next(one: Leaf) -> None:
    moved = one._replace(topic=one.topic + one.subject, subject="")
    assert (encode(moved) == encode(one)) == (moved == one)


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("1970-01-01 00:00:00+00", 0),
        ("2026-01-01 00:00:00.123456+00", 1_767_225_600_123_456),
        ("2026-01-01 01:00:00.123456+01", 1_767_225_600_123_456),
        ("0044-03-15 00:00:00+00 BC", -63_517_824_000_000_000),
    ],
)
async def test_a_time_is_counted_from_1970_whatever_the_zone_it_is_shown_in(
    database: Database, time: str, at: int
) -> None:
    connection = await asyncpg.connect(database.superuser_url)
    stored = await connection.fetchval(f"SELECT timestamptz_send('{time}'::timestamptz)")
    await connection.close()
    row = dict.fromkeys(("position", "stream", "seq", "topic", "subject", "by"))
    assert leaf.of_row({**row, "at": stored}, b"").at == at


def test_the_keys_in_an_event_are_those_of_its_personal_fields() -> None:
    first, second = UUID(int=1), UUID(int=2)
    sealed = '{"k":"%s","h":"","c":""}'
    assert leaf.keys_in(b'{"author":"a","mentions":[],"reply_to":null}') == set()
    assert leaf.keys_in(f'{{"content":{sealed % first},"ref":"r"}}'.encode()) == {first}
    assert leaf.keys_in(f'{{"a":{sealed % first},"b":{sealed % second}}}'.encode()) == {first, second}
    # What was written per room, to a session in three rooms with the shortest of names, is no sealed field.
    assert leaf.keys_in(b'{"ranges":{"k":[[1,2]],"h":[[1,2]],"c":[[1,2]]}}') == set()
