"""The JavaScript client on a real server."""
