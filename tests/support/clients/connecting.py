"""The native `connect` handshake."""

import json
from typing import Any

from tests.support.clients.native import raw


def connect_frame(**fields: Any) -> str:
    return json.dumps({"type": "connect", "protocol": 1, **fields})


async def connect_outcome(url: str, token: str) -> str | int:
    """Return the first event, or the code that the connection is closed with."""
    async with raw(url) as socket:
        await socket.send(json.dumps({"type": "connect", "protocol": 1, "token": token}))
        try:
            return str(json.loads(await socket.recv())["type"])
        except Exception:  # noqa: BLE001 - any error; only the code matters
            return int(socket.close_code or 0)
