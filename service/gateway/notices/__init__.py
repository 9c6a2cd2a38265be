"""Reactions of a node to recorded events besides room delivery: membership notices, suspended accounts, bus events.

Delivery in rooms is in `service.realtime`.
"""
