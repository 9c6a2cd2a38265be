"""Transports: what all connections share."""
