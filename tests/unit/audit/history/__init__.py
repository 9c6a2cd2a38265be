"""Tests of `service.audit.history`."""
