"""Tests of `service.gateway.notices`."""
