"""The `eventsourcing` library's own tests of its recorders.

Their module needs pycryptodome, through `eventsourcing.cipher`. The library has the same cipher with
`cryptography`, as `eventsourcing.cryptography`, which replaces it here.
"""

import sys

from eventsourcing import cryptography

sys.modules.setdefault("eventsourcing.cipher", cryptography)

from eventsourcing.tests.persistence import (  # noqa: E402 - after its cipher
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
    TrackingRecorderTestCase,
)

__all__ = [
    "AggregateRecorderTestCase",
    "ApplicationRecorderTestCase",
    "InfrastructureFactoryTestCase",
    "NonInterleavingNotificationIDsBaseCase",
    "TrackingRecorderTestCase",
]
