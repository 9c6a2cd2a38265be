"""Exports: a directory with events, a proof for each, and HTML pages.

Proofs and their format are in `service.audit.proof`.
"""
