"""Drivers of the client libraries, and servers that misbehave to try them."""
