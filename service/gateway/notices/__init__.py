"""What connections are sent besides room delivery: membership notices, receipts, closes of suspended accounts.

Delivery in rooms is in `service.realtime`.
"""
