"""Tests of `service.gateway.queries`."""
