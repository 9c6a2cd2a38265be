"""Builds the projector and the sealer from the settings, runs them side by side, and collects their metrics."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from projections import PROJECTIONS
from projections.engine.projector import Projector
from projections.engine.runner import Runner, Watch
from service.audit.proof import tree_store
from service.audit.proof.sealer import Sealer
from service.config.settings import Settings
from service.encryption.keyring import KeyRing
from service.eventstore.connections import connector
from service.eventstore.damage import Damaged
from service.eventstore.serializer import EventSerializer
from service.observability.exposition import Sheet
from service.runtime import supervise


async def project(following: Projector, sealing: Sealer | None, failures: Counter[str]) -> None:
    """Run the projector, and the sealer beside it; both follow the log. See `supervise.background` for `failures`."""
    if sealing is None:
        await following.run()
    else:
        async with supervise.background(failures, seal=sealing.run):
            await following.run()


def projector(settings: Settings, only: str | None = None, watch: Watch | None = None) -> Projector:
    """Return the projector of all read models, or of the one named `only`."""
    log = connector(settings, settings.projecting_url)
    return Projector(
        log.connect,
        EventSerializer(KeyRing(settings.key_encryption_key)),
        chosen([only] if only else []),
        settings.catchup_interval,
        watch,
        tree_store.changed,
        log.session,
    )


def chosen(names: Sequence[str]) -> list[Any]:
    """Return the read models with these names, or all if there are none."""
    known = {projection.name: projection for projection in PROJECTIONS}
    return [known[name] for name in names] if names else list(known.values())


def sealer(settings: Settings) -> Sealer:
    """Return the sealer."""
    return Sealer(
        connector(settings, settings.projecting_url).connect,
        settings.key_encryption_key,
        settings.catchup_interval,
    )


@dataclass(frozen=True, kw_only=True)
class ProjectorMetrics:
    """The parts of a projector that have metrics; one of a single read model has no sealer."""

    runners: Sequence[Runner]
    sealer: Sealer | None
    damaged: Damaged

    def write(self, sheet: Sheet) -> None:
        """Write all metrics; see `Source`."""
        for runner in self.runners:
            self._runner(sheet, runner, runner.projection.name)
        sheet.put("onrecord_unreadable_events_total", self.damaged.count)
        if self.sealer is not None:
            sheet.put("onrecord_sealer_leading", self.sealer.leading)
            if self.sealer.leading:
                sheet.put("onrecord_sealed_events", self.sealer.size)
                if self.sealer.caught_up_at is not None:
                    lag = asyncio.get_running_loop().time() - self.sealer.caught_up_at
                    sheet.put("onrecord_sealer_lag_seconds", lag)

    @staticmethod
    def _runner(sheet: Sheet, runner: Runner, name: str) -> None:
        sheet.put("onrecord_projector_leading", runner.leading, name)
        sheet.put("onrecord_projector_stopped", runner.stopped is not None, name)
        sheet.put("onrecord_projector_position", runner.position, name)
        sheet.put("onrecord_projector_behind_events", runner.behind, name)
        sheet.put("onrecord_projector_events_total", runner.applied, name)
        sheet.put("onrecord_projector_failures_total", runner.failures, name)
        sheet.put("onrecord_projector_batch_duration_seconds", runner.batches, name)
