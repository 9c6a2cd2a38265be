"""Tests of `service.config`."""
