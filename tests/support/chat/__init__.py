"""Helpers for chat tests: one command of each kind, and participants."""
