"""The doctor's patients are real servers, and have what is found."""

from tests.databases import database

__all__ = ["database"]
