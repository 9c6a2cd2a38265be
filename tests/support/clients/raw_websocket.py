"""A WebSocket client that sends only the frames of a test."""

import socket
import struct
from typing import Self

from tests.support.servers.websocket_server import PATIENCE

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n%s\r\n"
)


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, reserved: int = 0
) -> bytes:
    """A frame as a client sends it (RFC 6455, section 5.2)."""
    header = bytes([fin << 7 | reserved << 4 | opcode])
    length = len(payload)
    marked = mask << 7
    if length <= 125:
        header += bytes([marked | length])
    elif length < 1 << 16:
        header += struct.pack("!BH", marked | 126, length)
    else:
        header += struct.pack("!BQ", marked | 127, length)
    return header + (bytes(4) + payload if mask else payload)  # masked with zeros


class Peer:
    def __init__(self, port: int, *, headers: bytes = b"", receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self._buffer = bytearray()
        self.socket.sendall(_UPGRADE % headers)

    def shake_hands(self) -> Self:
        assert self.read_response().startswith("HTTP/1.1 101 ")
        return self

    def read_response(self) -> str:
        """The head of the HTTP response."""
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer[:] = rest
        return head.decode()

    def _receive(self, most: int = 65536) -> None:
        data = self.socket.recv(most)
        if not data:
            raise EOFError
        self._buffer += data

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._receive()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self.socket.sendall(frame(opcode, payload, fin=fin))

    def read(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        first, length = self._take(2)
        assert first & 0x70 == 0, "nothing is compressed"
        assert not length & 0x80, "a server does not mask"
        if length >= 126:
            length = int.from_bytes(self._take(2 if length == 126 else 8))
        return first & 0x0F, self._take(length)

    def read_close(self) -> tuple[int, str]:
        """Skip to the close frame; its code and reason."""
        while True:
            opcode, payload = self.read()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2]), payload[2:].decode()

    def read_to_the_end(self) -> bytes:
        try:
            while True:
                self._receive()
        except (EOFError, ConnectionResetError):
            return bytes(self._buffer)

    def reset(self) -> None:
        """Reset the connection: the server's kernel gets an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def close_payload(code: int, reason: str = "") -> bytes:
    return struct.pack("!H", code) + reason.encode()


def masked(opcode: int, payload: bytes, mask: bytes, *, fin: bool = True, reserved: int = 0) -> bytes:
    """Return a frame whose mask is not zero."""
    whole = frame(opcode, payload, fin=fin, reserved=reserved)
    start = len(whole) - len(payload) - 4
    return whole[:start] + mask + bytes(one ^ mask[index % 4] for index, one in enumerate(payload))
