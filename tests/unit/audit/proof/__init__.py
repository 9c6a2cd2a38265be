"""Tests of `service.audit.proof`."""
