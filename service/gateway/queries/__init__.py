"""Reads that commands and HTTP share: rooms, members, receipts and history as wire payloads.

The SQL is in `projections`.
"""
