"""Readers of the documents: examples, named tests, log events."""
