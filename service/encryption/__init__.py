"""Encryption of personal fields: data keys, the key encryption key that wraps them, and its rotation.

The keys that sign checkpoints are in `service.audit.proof`.
"""
