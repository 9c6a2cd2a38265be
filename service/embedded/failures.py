"""What can stand in the way of the embedded servers. Each message is one sentence for whoever started them."""


class EmbeddedFailed(Exception):
    """The embedded servers cannot be had."""


class AlreadyRunning(EmbeddedFailed):
    """Another process uses this data directory."""


class ServerDidNotStart(EmbeddedFailed):
    """A server program ended, or did not answer, instead of starting."""
