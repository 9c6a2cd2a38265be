"""WebSocket (RFC 6455) over asyncio: handshake, parser, frames, write buffer, connection, and the bridge to ASGI.

No module depends on chat; the native protocol is in `service.gateway.native`.
"""
