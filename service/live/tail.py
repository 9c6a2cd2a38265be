"""The slow tail reader: whatever was recorded and not heard here, by a lost message or an unclear commit, is read.

The fast ways are this node's own commits and the bus. Both may fail for the last message before a silence, so once an
interval this looks at how far every stream has come since the last look, and lets the hub read the rooms that lag.
"""

import asyncio
import logging

from service.domain.streams import room_of
from service.errors import Unavailable
from service.live.hub import Hub
from service.log.read import LogReader

log = logging.getLogger("onrecord.tail")


class Tail:
    """Follows the log's positions from where it stands when `run` begins; `interval` in seconds."""

    def __init__(self, reader: LogReader, hub: Hub, interval: float) -> None:
        self._reader = reader
        self._hub = hub
        self._interval = interval

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            Unavailable: the log could not be read at the start.
        """
        position = await self._reader.position()
        while True:
            await asyncio.sleep(self._interval)
            try:
                for stream, seq, moved in await self._reader.moved(position):
                    if stream.startswith("room:"):
                        await self._hub.heal(room_of(stream), seq)
                    position = max(position, moved)
            except Unavailable:
                log.warning("tail_unavailable", extra={"position": position})
