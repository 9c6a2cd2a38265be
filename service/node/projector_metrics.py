"""The metrics of a projector, collected from its runners and its sealer at each scrape."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from projections.engine.runner import Runner
from service.audit.proof.sealer import Sealer
from service.eventstore.serializer import Damaged
from service.observability.exposition import Sheet


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
                if self.sealer.level_at is not None:
                    lag = asyncio.get_running_loop().time() - self.sealer.level_at
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
