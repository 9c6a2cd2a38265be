"""Every wire format that a session may take, and how an event becomes the bytes that all sessions of it are sent."""

from collections.abc import Callable

from service.protocol.emits import event_packet
from service.protocol.events import Outgoing
from service.wire.engineio import FRAME, PACKET
from service.wire.frames import text_frame
from service.wire.native import NATIVE, native_frame

JOINING = NATIVE
"""The format whose frames may be sent several in one piece; a session of Socket.IO may have to add to each."""

ENCODERS: dict[str, Callable[[Outgoing], bytes]] = {
    NATIVE: native_frame,
    PACKET: event_packet,
    FRAME: lambda outgoing: text_frame(event_packet(outgoing)),
}
