"""Live tests that need a log have a database of their own."""

from tests.databases import database

__all__ = ["database"]
