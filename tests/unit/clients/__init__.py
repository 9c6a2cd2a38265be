"""Tests of the pure parts of the Python client."""
