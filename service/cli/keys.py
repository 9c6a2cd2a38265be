"""What the commands of `onrecord keys` do, by the rules of `service.cli.commands`."""

import argparse

from service.cli.commands import settings_with


def status(_args: argparse.Namespace) -> int:
    """How people's keys are wrapped."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.key_rotation import run_status

    return run_status(settings)


def rotate(_args: argparse.Namespace) -> int:
    """All wrapped by the first key encryption key."""
    settings = settings_with("migrate_database_url", "key_encryption_key")
    from service.cli.key_rotation import run_rotate

    return run_rotate(settings)
