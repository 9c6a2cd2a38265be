"""Tests of `service.cluster`."""
