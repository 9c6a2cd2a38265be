"""A client over TCP that sends only the bytes of a test."""

import socket

from tests.support.servers.websocket_server import PATIENCE, LiveServer


def client(server: LiveServer) -> socket.socket:
    """Connect to a server."""
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE)


def rest(tcp: socket.socket) -> bytes:
    """Return all bytes until the server closes."""
    received = b""
    try:
        while data := tcp.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received
