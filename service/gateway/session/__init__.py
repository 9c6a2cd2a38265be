"""Authenticated connections: the session, the registry of sessions, their start and end, and drain.

What a session sends back to commands is decided in `service.gateway.commands`.
"""
