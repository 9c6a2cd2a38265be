"""Tests of `service.domain`."""
