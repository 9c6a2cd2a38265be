"""Tests of `service.gateway.commands`."""
