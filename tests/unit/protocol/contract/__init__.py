"""Tests of `service.protocol.contract`."""
