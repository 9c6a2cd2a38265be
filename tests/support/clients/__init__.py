"""Clients for tests: native, raw WebSocket, stock Socket.IO, a browser, and a model of what a client knows."""
