"""The callback of a connection without an owner: to keep the owner that has left would be a reference cycle."""


def nothing() -> None:
    """Do nothing."""
