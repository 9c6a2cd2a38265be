"""What all transports have in common: the interface of a connection, the client's address, error responses.

The WebSocket implementation is in `service.gateway.websocket`.
"""
