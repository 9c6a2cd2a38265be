"""Tests of `service.gateway`."""
