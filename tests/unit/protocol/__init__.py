"""Tests of `service.protocol`."""
