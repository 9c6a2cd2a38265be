"""Keeps the read models current: the runner, rebuild and switch, comparison, and snapshots as of the log's head.

The read models themselves and their queries are modules of `projections`.
"""
