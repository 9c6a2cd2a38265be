"""The Socket.IO endpoint: clients in namespaces over Engine.IO, and the chat as one namespace.

Packets are encoded in `service.protocol.socketio`.
"""
