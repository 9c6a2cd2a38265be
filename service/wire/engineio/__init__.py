"""Engine.IO 4: sessions that begin as HTTP polling or as a WebSocket, and change from the one to the other."""

from service.wire.engineio.answers import Refused
from service.wire.engineio.connection import Connection
from service.wire.engineio.interface import FRAME, PACKET, Settings, Upper
from service.wire.engineio.server import Engine

__all__ = ["FRAME", "PACKET", "Connection", "Engine", "Refused", "Settings", "Upper"]
