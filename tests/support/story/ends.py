"""Scenes of connections that the server closes."""

import asyncio
import json

from tests.support.story.cast import Cast


async def closed_at_once(cast: Cast) -> None:
    """Closed at once.

    First frames that end the connection: text that is no JSON, another version of the protocol, no token,
    a token that is not valid yet, and a frame that is too large.
    """
    early = cast.token("fay", hours=2, nbf=int(cast.later(1).timestamp()))
    for frame in ({"protocol": 2}, {"protocol": 1}, {"protocol": 1, "token": early}):
        fay = await cast.opens("fay")
        await fay.sends_frame("connect", **frame)
        await fay.is_closed()
    for text in ("hello", json.dumps("x" * 200_000)):
        fay = await cast.opens("fay")
        await fay.sends_text(text)
        await fay.is_closed()


async def the_database_stops(cast: Cast) -> None:
    """The database stops.

    The log cannot be reached, so the server cannot say whether the message is recorded. Ann sends it
    again with the same `ref` until it is acknowledged.
    """
    await asyncio.to_thread(cast.servers.postgres.kill)
    try:
        ref = cast.ref("ann", "message:send")
        await cast.ann.sends("message:send", roomId="general", content="Is this on the record?", ref=ref)
    finally:
        await asyncio.to_thread(cast.servers.postgres.start)


async def the_server_stops(cast: Cast) -> None:
    """The server stops.

    Its connections close, and the clients connect to another server.
    """
    await cast.node.stop()
    await cast.ann.is_closed()
