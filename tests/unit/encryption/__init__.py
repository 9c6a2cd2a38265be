"""Tests of `service.encryption`."""
