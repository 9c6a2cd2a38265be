"""The `eventsourcing` library's own tests of its recorders.

Its module of them asks for pycryptodome, by way of `eventsourcing.cipher`; the library ships the same cipher over
`cryptography`, which we have, as `eventsourcing.cryptography`. So that one takes the other's place.
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
