"""Tests of `service.observability`."""
