"""Helpers for read model tests: events of one room, and runners."""
