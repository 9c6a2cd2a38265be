"""The JavaScript client: its package, built as it is published, and processes that use it."""
