"""Tests of `service.gateway.auth`."""
