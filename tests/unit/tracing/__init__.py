"""Tests of `service.tracing`."""
