"""Shared by all transports: the interface of a connection, writes to many sockets, client addresses, error responses.

The WebSocket implementation is in `service.gateway.websocket`.
"""
