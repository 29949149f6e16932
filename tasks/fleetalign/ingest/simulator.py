"""The simulated fleet as a source of telemetry."""

from __future__ import annotations

from collections.abc import Iterator

from fleetalign.config import Config
from fleetalign.ingest.source import Reading
from fleetalign.interval import Interval
from fleetalign.progress import Progress
from fleetalign.simulate.simulation import Simulation


class SimulatorSource:
    """The fleet that ``source.simulator`` describes."""

    name = "simulator"

    def __init__(self, config: Config) -> None:
        """Raise UsageError for settings that describe no fleet."""
        self._simulation = Simulation.from_settings(config.source.simulator)

    def read(self, interval: Interval, progress: Progress | None = None) -> Iterator[Reading]:
        """Yield one reading with a table per kind; without tables outside the simulated days."""
        tables = [table for table in self._simulation.telemetry(interval).values() if table.num_rows]
        if progress:
            rows = sum(table.num_rows for table in tables)
            progress(rows, rows, self.name)
        steps = {kind.name: kind.step_seconds for kind in self._simulation.kinds}
        yield Reading(interval=interval, origin=self.name, objects=tables, steps=steps)
