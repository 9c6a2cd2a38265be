"""Tests of `service.chat`."""
