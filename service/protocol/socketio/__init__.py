"""Socket.IO 5 and Engine.IO 4: packets, payloads, and the chat's events in their format.

Pure. The servers that use these codecs are in `service.gateway.engineio` and `service.gateway.socketio`.
"""
