"""What nodes share: the bus, leases, and the log of sessions with the reaper that closes orphaned ones.

Delivery to the connections of one node is in `service.realtime`.
"""
