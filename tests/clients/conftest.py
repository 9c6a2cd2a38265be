"""Fixtures of the clients' tests."""

from tests.integration.conftest import node

__all__ = ["node"]
