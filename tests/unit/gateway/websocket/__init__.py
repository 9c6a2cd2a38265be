"""Tests of `service.gateway.websocket`."""
