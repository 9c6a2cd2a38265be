"""Live delivery on one node: room feeds, subscribers, fan-out, catch-up, gap repair.

Sockets are written through the `Subscriber` interface and `service.runtime.direct_sockets`. Presence and typing are in
`service.presence`.
"""
