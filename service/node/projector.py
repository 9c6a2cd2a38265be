"""Builds the projector and the sealer from the settings, and runs them side by side."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from projections import PROJECTIONS
from projections.engine.projector import Projector
from projections.engine.runner import Watch
from service.audit.proof import tree_store
from service.audit.proof.sealer import Sealer
from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer
from service.runtime import supervise


async def project(following: Projector, sealing: Sealer | None) -> None:
    """Run the projector, and the sealer beside it; both follow the log."""
    if sealing is None:
        await following.run()
    else:
        async with supervise.background(seal=sealing.run):
            await following.run()


def projector(settings: Settings, only: str | None = None, watch: Watch | None = None) -> Projector:
    """Return the projector of all read models, or of the one named `only`."""
    return Projector(
        lambda: asyncpg.connect(settings.projecting_url, timeout=settings.database_timeout),
        EventSerializer(KeyRing(settings.key_encryption_key)),
        chosen([only] if only else []),
        settings.catchup_interval,
        watch,
        tree_store.changed,
    )


def chosen(names: Sequence[str]) -> list[Any]:
    """Return the read models with these names, or all if there are none."""
    known = {projection.name: projection for projection in PROJECTIONS}
    return [known[name] for name in names] if names else list(known.values())


def sealer(settings: Settings) -> Sealer:
    """Return the sealer."""
    return Sealer(
        lambda: asyncpg.connect(settings.projecting_url, timeout=settings.database_timeout),
        settings.key_encryption_key,
        settings.catchup_interval,
    )
