"""Tests of `service.gateway.http`."""
