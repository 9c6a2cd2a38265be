"""Notices to connections besides room delivery: memberships, receipts, and closes of erased or suspended accounts.

Delivery in rooms is in `service.realtime`.
"""
