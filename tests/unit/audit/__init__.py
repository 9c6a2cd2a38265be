"""Tests of `service.audit`."""
