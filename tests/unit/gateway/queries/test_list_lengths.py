"""Lists of users: as many as fit, whatever the length of their ids."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from projections.messages import MessageRow
from projections.read_receipts import ReceiptRow, RoomMarkers
from service.domain.account import PersonState
from service.gateway.queries.views import MAX_RECEIPTS, MAX_SHOWN_PER_EMOJI, Views

AT = datetime(2026, 11, 29, tzinfo=UTC)
LENGTHS = [(36, 1), (128, 1), (192, 2 / 3), (255, 0.501)]
"""Lengths of all user ids, and the share of the longest list that is shown."""


def views(receipts: list[ReceiptRow]) -> Views:
    async def load(_users: object) -> None:
        """Find everyone known."""

    async def read(_query: object, rooms: list[str]) -> dict[str, RoomMarkers]:
        return dict.fromkeys(rooms, RoomMarkers(receipts, {}))

    people: Any = SimpleNamespace(load=load, account=lambda _user: PersonState(), name_of=lambda user: user)
    models: Any = SimpleNamespace(read=read)
    feeds: Any = SimpleNamespace(lags=lambda _room, _seq: False)
    unused: Any = None
    return Views(models, unused, feeds, people, unused, lambda: AT, 1)


def users(count: int, length: int) -> tuple[str, ...]:
    return tuple(f"{number:04}".ljust(length, '"') for number in range(count))


@pytest.mark.parametrize(("length", "share"), LENGTHS)
async def test_fewer_users_with_long_ids_are_listed_under_a_reaction(length: int, share: float) -> None:
    reacted = users(MAX_SHOWN_PER_EMOJI + 5, length)
    row = MessageRow("general", 3, "bob", "hello", AT, None, (), 3, reactions={":ok:": reacted})
    ((reaction,),) = [message.reactions for message in await views([]).messages([row], "bob")]
    assert reaction.count == len(reacted)
    assert reaction.user_ids == reacted[: int(share * MAX_SHOWN_PER_EMOJI)]


@pytest.mark.parametrize(("length", "share"), LENGTHS)
async def test_fewer_receipts_with_long_ids_are_sent(length: int, share: float) -> None:
    moved = [ReceiptRow(user, 3, AT) for user in users(MAX_RECEIPTS + 5, length)]
    shown = (await views(moved).markers("general")).receipts.receipts
    assert [each.user_id for each in shown] == [row.user_id for row in moved][: int(share * MAX_RECEIPTS)]
    assert len(msgspec.json.encode(shown)) < 512 * 1024
