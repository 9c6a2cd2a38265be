"""Tests of `service.node`."""
