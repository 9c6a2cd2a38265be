"""Tests of `service.eventstore`."""
