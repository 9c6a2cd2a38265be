"""General-purpose building blocks.

Batching, bounded queues, direct writes to sockets, supervision, database retries, timeouts, token buckets, time slices.
Nothing here refers to chat, to stored events or to a protocol.
"""
