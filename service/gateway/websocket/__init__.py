"""WebSocket (RFC 6455) over asyncio: handshake, parser, frames, write buffer, connection, and the bridge to ASGI.

Nothing here depends on chat; the native protocol is in `service.gateway.native`.
"""
