"""Detects a silent bus: sends probes over it to this node itself, and reconnects if none returns.

Messages that are sent while the bus is down are lost. Once a probe returns again, the callbacks of `on_resync` send the
state that is not in the log again.
"""

import asyncio
import logging
from collections.abc import Callable

PROBE_INTERVAL = 2.0
"""Seconds between two probes."""

DOWN_AFTER = 5.0
"""Seconds without a returned probe after which the bus counts as down."""

log = logging.getLogger("onrecord.relay")


class Heartbeat:
    """Sends probes with `send` and restores the bus with `reconnect`; `epoch` returns the log's epoch.

    For metrics: `resyncs`, how often the node received again.
    """

    def __init__(
        self, send: Callable[[], None], reconnect: Callable[[], None], epoch: Callable[[], bytes]
    ) -> None:
        self._send = send
        self._reconnect = reconnect
        self._epoch = epoch
        self._on_resync: list[Callable[[], None]] = []
        self._returned_at = asyncio.get_running_loop().time() - DOWN_AFTER
        self._was_receiving = False
        self._received_epoch = epoch()
        self.resyncs = 0

    def on_resync(self, handler: Callable[[], None]) -> None:
        """Register a callback that runs when this node receives messages again."""
        self._on_resync.append(handler)

    @property
    def receiving(self) -> bool:
        """Whether messages of other nodes arrive, by the last probe."""
        return self.silence < DOWN_AFTER

    @property
    def silence(self) -> float:
        """Seconds since a probe last returned."""
        return asyncio.get_running_loop().time() - self._returned_at

    async def run(self) -> None:
        """Send probes, and reconnect if none returns, until cancelled."""
        began = asyncio.get_running_loop().time()
        while True:
            self._send()
            await asyncio.sleep(PROBE_INTERVAL)
            now = asyncio.get_running_loop().time()
            if not self.receiving and now - began > DOWN_AFTER:
                if self._was_receiving:
                    log.warning("bus_deaf", extra={"seconds": round(now - self._returned_at, 1)})
                self._was_receiving = False
                self._reconnect()
                began = now

    def interrupted(self) -> None:
        """Note that messages on all channels may have been lost, and send a probe at once."""
        self._was_receiving = False
        self._send()

    def returned(self) -> None:
        """Note that a probe returned; run the callbacks of `on_resync` if it is the first after an outage."""
        self._returned_at = asyncio.get_running_loop().time()
        # Nodes refuse messages of another epoch, so a change of the epoch has the effect of an outage.
        if not self._was_receiving or self._received_epoch != self._epoch():
            self._was_receiving = True
            self._received_epoch = self._epoch()
            self.resyncs += 1
            for handler in self._on_resync:
                handler()
