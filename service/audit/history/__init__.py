"""Reads of the record: replay, rooms as of a moment, what one person could see, and the event stream.

Proofs are in `service.audit.proof`.
"""
