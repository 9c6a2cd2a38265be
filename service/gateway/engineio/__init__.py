"""Engine.IO 4: sessions over HTTP polling or a WebSocket, and the upgrade from polling to a WebSocket."""

from service.gateway.engineio.connection import Connection
from service.gateway.engineio.interface import FRAME, PACKET, Settings, Upper
from service.gateway.engineio.polling import Polls
from service.gateway.engineio.server import Engine
from service.gateway.transport.transport import Refused

__all__ = ["FRAME", "PACKET", "Connection", "Engine", "Polls", "Refused", "Settings", "Upper"]
