"""The native WebSocket endpoint, `/ws`.

Its codec is in `service.protocol.native`.
"""
