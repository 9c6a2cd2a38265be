"""Tests of `service.protocol.socketio`."""
