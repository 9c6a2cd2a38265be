"""Presence and typing: this node's users, what other nodes report, and the notifications to connections.

None of it is recorded in the event log.
"""
