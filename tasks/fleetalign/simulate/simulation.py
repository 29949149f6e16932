"""The simulated fleet as tables: telemetry, feedback, and the true incidents."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fleetalign.config import SimulatorConfig
from fleetalign.contracts.arrays import Bools, Floats
from fleetalign.contracts.tables import TELEMETRY, TIME
from fleetalign.errors import UsageError
from fleetalign.interval import DAY_SECONDS, Interval, parse_time
from fleetalign.simulate import operators
from fleetalign.simulate.faults import Fault, schedule, strike
from fleetalign.simulate.fleet import KINDS, SimulatedEntity, SimulatedKind, build_fleet
from fleetalign.simulate.random import Stream, generator
from fleetalign.simulate.signals import healthy

ON_CALL_SHARE = 0.3
"""Last share of the time, in which operators are on call and incidents are more frequent."""
LOST_CELL_SHARE = 0.002
LOST_ROW_SHARE = 0.001
OUTAGES_PER_ENTITY_DAY = 0.1
OUTAGE_STEPS = (3, 12)

TRUTH = pa.schema(
    [
        ("kind", pa.string()),
        ("entity_id", pa.string()),
        ("start", TIME),
        ("end", TIME),
        ("fault", pa.string()),
        ("metrics", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Simulation:
    """A fleet of ``entities`` over ``days`` days from ``start``, an aware UTC midnight.

    Equal arguments, equal bytes.
    Raises UsageError for fewer than 2 entities or 1 day, a negative seed, or a start that is not a midnight.
    """

    seed: int
    start: datetime
    days: int
    entities: int

    def __post_init__(self) -> None:
        if self.start.utcoffset() != timedelta(0) or self.start.time() != datetime.min.time():
            raise UsageError(f"simulator: start is {self.start}; it must be a midnight in UTC, for example 2026-03-02")
        for name, least in (("seed", 0), ("days", 1), ("entities", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"simulator: {name} is {getattr(self, name)}; it must be at least {least}")

    @classmethod
    def from_settings(cls, fleet: SimulatorConfig) -> Simulation:
        return cls(fleet.seed, parse_time(fleet.start), fleet.days, fleet.entities)

    @property
    def kinds(self) -> tuple[SimulatedKind, ...]:
        return KINDS

    @property
    def interval(self) -> Interval:
        return Interval(self.start, self.start + timedelta(days=self.days))

    @property
    def on_call_from(self) -> datetime:
        """When the time on call begins: the last 30 %, to the full hour."""
        return self.start + timedelta(hours=math.ceil((1 - ON_CALL_SHARE) * 24 * self.days))

    @cached_property
    def fleet(self) -> tuple[SimulatedEntity, ...]:
        return build_fleet(self.seed, self.start, self.days, self.entities)

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        return schedule(self.seed, self.fleet, self.start, self.on_call_from, self.interval.end)

    @cached_property
    def _yardsticks(self) -> dict[tuple[str, str], Floats]:
        return {(e.kind.name, e.entity_id): healthy(self.seed, e, self.start, 0) for e in self.fleet}

    def telemetry(self, interval: Interval) -> dict[str, pa.Table]:
        """Return the telemetry inside ``interval``, one table per kind by its name.

        The values of a day do not depend on which interval is asked for.
        """
        first = max(0, math.floor((interval.start - self.start) / timedelta(days=1)))
        last = min(self.days, math.ceil((interval.end - self.start) / timedelta(days=1)))
        tables = {}
        for kind in self.kinds:
            schema = pa.schema([*TELEMETRY.schema, *(pa.field(m, pa.float64()) for m in kind.metrics)])
            parts = [
                self._entity_day(entity, day, interval, schema)
                for entity in self.fleet
                if entity.kind is kind
                for day in range(first, last)
            ]
            tables[kind.name] = TELEMETRY.conform(pa.concat_tables([schema.empty_table(), *parts]))
        return tables

    def feedback(self) -> pa.Table:
        """Return the feedback of all operators until the end of the data (FEEDBACK contract)."""
        return operators.statements(self.seed, self.fleet, self.faults, self.on_call_from, self.interval.end)

    def truth(self) -> pa.Table:
        """Return every incident: kind, entity_id, start, end, fault, metrics; in order of start."""
        rows = [
            {
                "kind": f.entity.kind.name,
                "entity_id": f.entity.entity_id,
                "start": f.start,
                "end": f.end,
                "fault": f.kind.name,
                "metrics": list(f.metrics),
            }
            for f in self.faults
        ]
        return pa.Table.from_pylist(rows, schema=TRUTH)

    def write(self, folder: str | Path) -> list[Path]:
        """Write ``telemetry/KIND.parquet``, ``feedback.parquet``, ``truth.parquet``; returns paths."""
        folder = Path(folder)
        files = {f"telemetry/{kind}.parquet": table for kind, table in self.telemetry(self.interval).items()}
        files |= {"feedback.parquet": self.feedback(), "truth.parquet": self.truth()}
        paths = []
        for name, table in files.items():
            path = folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(table, path, compression="zstd")
            except OSError as error:
                raise UsageError(
                    f"{path}: cannot be written ({error.strerror or error}); name a writable folder"
                ) from None
            paths.append(path)
        return paths

    def _entity_day(self, entity: SimulatedEntity, day: int, interval: Interval, schema: pa.Schema) -> pa.Table:
        kind = entity.kind
        midnight = np.datetime64(self.start.replace(tzinfo=None), "us") + np.timedelta64(day, "D")
        times = midnight + np.arange(DAY_SECONDS // kind.step_seconds) * np.timedelta64(kind.step_seconds, "s")
        values = healthy(self.seed, entity, self.start, day)
        yardstick = self._yardsticks[kind.name, entity.entity_id]
        for fault in self.faults:
            if fault.entity is entity:
                strike(self.seed, fault, values, times, yardstick)
        values = np.clip(values, 0.0, kind.upper_limits)
        kept = self._lose(entity, day, values)
        bounds = [np.datetime64(t.replace(tzinfo=None), "us") for t in (max(interval.start, entity.born), interval.end)]
        kept &= (times >= bounds[0]) & (times < bounds[1])
        rows = int(kept.sum())
        columns = [
            pa.repeat(pa.scalar(kind.name), rows),
            pa.repeat(pa.scalar(entity.entity_id), rows),
            pa.array(times[kept]).cast(TIME),
            *(pa.array(values[kept, i], mask=np.isnan(values[kept, i])) for i in range(len(kind.metrics))),
        ]
        return pa.table(columns, schema=schema)

    def _lose(self, entity: SimulatedEntity, day: int, values: Floats) -> Bools:
        """Blank lost cells of ``values`` [step, metric]; returns which rows arrived, bool [step]."""
        steps, metrics = values.shape
        rng = generator(self.seed, Stream.LOSS, KINDS.index(entity.kind), entity.index, day)
        values[rng.random((steps, metrics)) < LOST_CELL_SHARE] = np.nan
        values[:, [m in entity.absent_metrics for m in entity.kind.metrics]] = np.nan
        kept: Bools = np.greater_equal(rng.random(steps), LOST_ROW_SHARE)
        for _ in range(rng.poisson(OUTAGES_PER_ENTITY_DAY)):
            first = int(rng.integers(steps))
            kept[first : first + int(rng.integers(*OUTAGE_STEPS))] = False
        return kept
