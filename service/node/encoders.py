"""Every wire format that a session may take, and how an event becomes the bytes that all sessions of it are sent."""

from collections.abc import Callable

from service.gateway.engineio import FRAME, PACKET
from service.gateway.native.endpoint import NATIVE, native_frame
from service.gateway.websocket.frames import text_frame
from service.protocol.events import Outgoing
from service.protocol.socketio.emits import event_packet

JOINING = NATIVE
"""The format whose frames may be sent several in one piece; a session of Socket.IO may have to add to each."""

ENCODERS: dict[str, Callable[[Outgoing], bytes]] = {
    NATIVE: native_frame,
    PACKET: event_packet,
    FRAME: lambda outgoing: text_frame(event_packet(outgoing)),
}
