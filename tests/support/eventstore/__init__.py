"""Logs for tests: a node as the event store sees it, and logs that are filled and sealed."""
