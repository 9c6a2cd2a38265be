"""The sending half of a connection: writes to the socket at once, and buffers what the kernel does not accept.

Invariant: no write waits for a slow peer or overtakes buffered bytes. The connection bounds the buffer (`over`).
"""

import asyncio
import socket
from asyncio.transports import BaseTransport
from typing import ClassVar, cast

from service.gateway.transport.transport import CATCHUP_ALLOWANCE
from service.runtime.direct_sockets import NOWHERE, DirectSockets, Send
from service.runtime.fast_event import FastEvent

_WATERMARK = CATCHUP_ALLOWANCE // 2  # with a catch-up's batch of 128 KiB it reaches the allowance


class WriteBuffer(asyncio.Protocol):
    """The sending half of a connection."""

    __slots__ = ("_send_direct", "_socket", "catchup", "descriptor", "transport", "writable")

    direct_sockets: ClassVar[DirectSockets]

    transport: asyncio.Transport
    _send_direct: Send
    _socket: socket.SocketType

    def __init__(self) -> None:
        self.writable = FastEvent()
        self.catchup = 0
        self.descriptor = NOWHERE  # the socket's descriptor; `NOWHERE` for a TLS connection

    def connection_made(self, transport: BaseTransport) -> None:
        """Keep the transport; called by asyncio."""
        self.transport = cast("asyncio.Transport", transport)

    def open_writing(self) -> None:
        """Prepare the socket of a connection that is accepted: most that are refused send one response."""
        transport = self.transport
        tcp = transport.get_extra_info("socket")
        if tcp.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio sets it only if the listening socket was created with IPPROTO_TCP; uvicorn's was not.
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if transport.get_extra_info("ssl_object") is None:
            self._open_direct(tcp)
        self.transport.set_write_buffer_limits(high=_WATERMARK, low=_WATERMARK)

    @property
    def outbox(self) -> int:
        """See `Transport.outbox`."""
        return self.transport.get_write_buffer_size()

    async def drained(self) -> None:
        """See `Transport.drained`."""
        await self.writable.wait()

    def pause_writing(self) -> None:
        """Called by asyncio when the transport's buffer is above the watermark."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio when the transport's buffer is no longer above the watermark."""
        self.writable.set()

    def put(self, frame: bytes) -> bool:
        """Write what the kernel accepts, and buffer the rest in the transport; return whether there is a rest."""
        if self._may_write_direct():
            if (written := self._write_at_once(frame)) == len(frame):
                return False
            frame = frame[written:]
        self.put_later(frame)
        return True

    def put_later(self, data: bytes) -> None:
        """Buffer in the transport; no direct write may overtake these bytes."""
        self.direct_sockets.deny(self.descriptor)
        self.transport.write(data)

    def over(self, allowed: int) -> bool:
        """Return whether more bytes are buffered than allowed; a catch-up raises the limit by `CATCHUP_ALLOWANCE`."""
        return self.outbox > allowed + (CATCHUP_ALLOWANCE if self.catchup else 0)

    def stop_writing(self) -> None:
        """Stop direct writes to this socket, and wake waiting senders."""
        if self.descriptor != NOWHERE:
            self.direct_sockets.deny(self.descriptor)
            self.descriptor = NOWHERE  # the next connection may have the same one
            self._socket.detach()
        self.writable.set()

    def close_writing(self) -> None:
        """Shut down the sending direction, and leave the close to the peer.

        Closing a socket with unread input resets the connection, and the peer may see the reset before it has read the
        close frame (RFC 6455, section 7.1.1).
        """
        if not self.transport.can_write_eof():
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()

    def _open_direct(self, tcp: socket.socket) -> None:
        """Prepare direct writes to the socket, which are cheaper than those through the transport."""
        self.descriptor = tcp.fileno()
        self._socket = socket.SocketType(tcp.family, tcp.type, tcp.proto, self.descriptor)
        self._send_direct = self._socket.send
        self.direct_sockets.deny(self.descriptor)

    def _may_write_direct(self) -> bool:
        """Return whether the transport's buffer is empty, and update the table of direct sockets."""
        if self.descriptor == NOWHERE or self.transport.get_write_buffer_size():
            return False
        self.direct_sockets.allow(self.descriptor, self._send_direct)
        return True

    def _write_at_once(self, frame: bytes) -> int:
        """Write without the transport, which saves a call; return how many bytes the kernel accepted.

        The descriptor is valid while the connection is open: transports call `connection_lost` before they close the
        socket.
        """
        try:
            return self._send_direct(frame)
        except OSError:
            # The kernel's buffer is full, or the connection is broken, which the transport detects too.
            return 0
