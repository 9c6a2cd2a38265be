"""Helpers for live delivery tests: subscribers that record, and nodes in the test's process."""
