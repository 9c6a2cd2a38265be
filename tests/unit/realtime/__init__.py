"""Tests of `service.realtime`."""
