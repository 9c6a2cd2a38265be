"""Tests of `service.embedded`."""
