"""Reading the record back: replay, rooms as of a moment, what one person could see, and the stream of events.

Proofs are in `service.audit.proof`.
"""
