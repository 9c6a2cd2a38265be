"""General-purpose building blocks: batching, supervision, database retries, timeouts, token buckets, time slices.

Nothing here refers to chat, to stored events or to a protocol.
"""
