"""A node has one `Views`: requests that come over different endpoints at the same time share one query."""

import asyncio
from typing import Any

import pytest

from projections import read_receipts
from service.cluster.bus import InProcessBus
from service.node.node import node
from tests.support.realtime.nodes import settings
from tests.support.servers.databases import Database


async def test_requests_over_two_endpoints_share_a_query(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries: list[list[str]] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def of_rooms(
        _reads: Any, _serializer: Any, rooms: list[str]
    ) -> dict[str, read_receipts.RoomMarkers]:
        queries.append(rooms)
        begun.set()
        await go_on.wait()
        return {room: read_receipts.RoomMarkers([], {}) for room in rooms}

    monkeypatch.setattr(read_receipts, "of_rooms", of_rooms)
    async with node(settings(database), InProcessBus()) as running:
        native: Any = running.gateway.native
        socketio: Any = running.gateway.socketio
        over_native = native.starter.connecting.views
        over_socketio = socketio._starter.connecting.views
        [receipts] = [route for route in running.gateway.routes if "receipts" in getattr(route, "path", "")]
        over_http = _owner(receipts).views
        first = asyncio.create_task(over_native.markers("first"))
        await begun.wait()
        rest = [
            asyncio.create_task(views.markers(room))
            for views, room in ((over_native, "a"), (over_socketio, "b"), (over_http, "c"))
        ]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, *rest)
    assert queries == [["first"], ["a", "b", "c"]]


def _owner(route: Any) -> Any:
    """Return the object that answers a route of a table of reads."""
    cells = dict(zip(route.endpoint.__code__.co_freevars, route.endpoint.__closure__, strict=True))
    return cells["owner"].cell_contents
