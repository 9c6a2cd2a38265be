"""Tests of `service.audit.privacy`."""
