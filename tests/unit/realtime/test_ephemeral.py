"""Events outside any room's order: any event can be sent, and each is encoded once per wire format."""

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from service.gateway.native.endpoint import native_frame
from service.protocol.contract.examples import example
from service.protocol.contract.schemas import events
from service.protocol.events import Outgoing
from service.realtime.audience import EphemeralBatch


@dataclass
class Listener:
    wire_format: str = "native"
    frames: list[bytes] = field(default_factory=list)

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)


@pytest.mark.parametrize("kind", events(), ids=lambda kind: kind.__name__)
def test_every_event_is_encoded_once_for_all_listeners(kind: type[Outgoing]) -> None:
    encoded: list[Outgoing] = []

    def encode(outgoing: Outgoing) -> bytes:
        encoded.append(outgoing)
        return native_frame(outgoing)

    outgoing = msgspec.convert(example(kind), kind)
    first, second = Listener(), Listener()
    batch = EphemeralBatch({"native": encode}, joining=None)
    for listener in (first, second):
        batch.send(cast("Any", listener), [outgoing])
    assert first.frames == second.frames == [native_frame(outgoing)]
    assert encoded == [outgoing]
