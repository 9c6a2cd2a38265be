"""Nodes that fail, restart, drain, or lose PostgreSQL and Redis."""
