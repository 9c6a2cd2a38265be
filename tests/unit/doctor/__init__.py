"""Tests of `service.doctor`."""
