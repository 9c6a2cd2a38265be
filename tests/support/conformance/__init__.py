"""The echo applications that Socket.IO's own test suites run against, and their clients."""
