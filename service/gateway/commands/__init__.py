"""Commands from clients: admission, dispatch, one handler for each command, and replies.

Reads of rooms and history are in `service.gateway.queries`.
"""
