"""Helpers for presence tests: several nodes in one process."""
