"""Conformance to published protocols: Engine.IO, Socket.IO, WebSocket echo for Autobahn, signed JSON (Wycheproof)."""
