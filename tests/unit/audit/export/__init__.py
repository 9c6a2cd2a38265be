"""Tests of `service.audit.export`."""
