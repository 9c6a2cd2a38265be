"""Stock Socket.IO clients."""
