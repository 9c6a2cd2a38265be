"""The event store: appending, reading, reading as of a position, serialization, the pool, notifications.

Read models are in `projections`, the encryption of personal fields in `service.encryption`, migrations in `migrations`.
"""
