"""When a node resynchronizes: after an outage, and after the log's epoch has changed."""

from service.cluster.heartbeat import Heartbeat


class Bus:
    """What a heartbeat sends and asks for."""

    def __init__(self) -> None:
        self.probes = self.resyncs = 0
        self.epoch = b"one"
        self.heartbeat = Heartbeat(self._send, lambda: None, lambda: self.epoch)
        self.heartbeat.on_resync(self._resync)

    def _send(self) -> None:
        self.probes += 1

    def _resync(self) -> None:
        self.resyncs += 1


async def test_the_bus_is_down_until_a_probe_returns() -> None:
    bus = Bus()
    assert not bus.heartbeat.receiving
    bus.heartbeat.returned()
    assert bus.heartbeat.receiving


async def test_only_the_first_probe_after_an_outage_resynchronizes() -> None:
    bus = Bus()
    for _ in range(3):
        bus.heartbeat.returned()
    assert bus.resyncs == 1
    bus.heartbeat.interrupted()
    assert (bus.probes, bus.resyncs) == (1, 1), "a probe is sent at once"
    for _ in range(3):
        bus.heartbeat.returned()
    assert bus.resyncs == bus.heartbeat.resyncs == 2


async def test_a_new_epoch_resynchronizes_without_an_outage() -> None:
    bus = Bus()
    bus.heartbeat.returned()
    bus.epoch = b"two"
    bus.heartbeat.returned()
    bus.heartbeat.returned()
    assert bus.resyncs == 2
