"""The parts of the JavaScript client without a server."""
