"""What the auditor's tests share: a database each."""

from tests.databases import database

__all__ = ["database"]
