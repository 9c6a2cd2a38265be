"""Shared by all transports: the interface of a connection, writes to many sockets, the client's address, error responses.

The WebSocket implementation is in `service.gateway.websocket`.
"""
