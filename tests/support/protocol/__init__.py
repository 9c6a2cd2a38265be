"""Helpers for protocol tests: catalogues and counted work."""
