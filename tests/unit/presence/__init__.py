"""Tests of `service.presence`."""
