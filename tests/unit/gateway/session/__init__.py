"""Tests of `service.gateway.session`."""
