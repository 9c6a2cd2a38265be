"""Privacy: erasure of a person, retention, and the legal holds that prevent both.

The keys that these operations destroy are managed in `service.encryption`.
"""
