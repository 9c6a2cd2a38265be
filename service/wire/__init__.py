"""The only code that writes to sockets: the WebSocket transport, the doors, the HTTP API."""
