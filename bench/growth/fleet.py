"""A fleet of any size with short histories, cheap to make, and the settings that give every step real work on it.

An entity's telemetry does not depend on how many others there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fleetalign.config import (
    AlignConfig,
    Config,
    GatesConfig,
    ModelConfig,
    RegistryConfig,
    SourceConfig,
    StorageConfig,
    TrainingConfig,
    ValidationConfig,
)
from fleetalign.contracts.feedback import feedback_id
from fleetalign.contracts.tables import FEEDBACK, TIME
from fleetalign.interval import Interval
from fleetalign.storage import lake, statements
from fleetalign.storage.connect import open_store

SEED = 1
KIND = "unit"
METRICS = ("load", "latency", "errors")
WINDOW_STEPS = 16
START = datetime(2026, 3, 2, tzinfo=UTC)
SPOKEN_EVERY = 50
"""Operators speak about every fiftieth entity."""
FAULTY_EVERY = 10
FAULT_STEPS = 3
BLOCK = 1000
ENTITIES_PER_SHARD = 500
"""The same for every fleet, so that memory tells of the fleet and not of the shard: 200 shards of 100,000 entities."""
MEMORY_MB = 64
"""Larger panels are memory-mapped."""


@dataclass(frozen=True, slots=True)
class History:
    """How much telemetry every entity has."""

    days: int
    step_seconds: int

    @property
    def day_steps(self) -> int:
        return 86_400 // self.step_seconds

    @property
    def steps(self) -> int:
        return self.days * self.day_steps

    @property
    def heard_from(self) -> int:
        """First step that operators speak about; it lies in the calibrate range (the last 30 %)."""
        return round(0.73 * self.steps)


SHORT = History(days=4, step_seconds=3600)


def settings(network: str, source: Path | None = None) -> Config:
    """Bounded training, short windows, shards of one size; everything else is the default. ``source``: a folder."""
    files = SourceConfig(
        type="files", path=str(source / "telemetry"), feedback_path=str(source / "feedback.parquet"), kind=KIND
    ) if source else SourceConfig()  # fmt: skip
    return Config(
        source=files,
        model=ModelConfig(network=network, window_steps=WINDOW_STEPS),
        training=TrainingConfig(epochs=1, max_windows_per_epoch=4_000, max_validation_windows=1_000),
        align=AlignConfig(min_history_steps=SHORT.day_steps, entities_per_shard=ENTITIES_PER_SHARD),
        gates=GatesConfig(bootstrap_samples=200),
        registry=RegistryConfig(enabled=False),
        validation=ValidationConfig(data_docs=False),
        storage=StorageConfig(memory_mb=MEMORY_MB),
    )


def days(history: History = SHORT) -> list[Interval]:
    return [Interval(START + timedelta(days=d), START + timedelta(days=d + 1)) for d in range(history.days)]


def entity_id(number: int) -> str:
    return f"u{number:07d}"


def values(block: int, history: History = SHORT) -> np.ndarray:
    """Telemetry float64 [BLOCK, steps, metric] of entities ``block * BLOCK`` onwards: a daily rhythm, noise, faults."""
    random = np.random.default_rng([SEED, block])
    shape = (BLOCK, history.steps, len(METRICS))
    phase = random.uniform(0, 2 * np.pi, (BLOCK, 1, 1))
    rhythm = np.sin(2 * np.pi * np.arange(history.steps)[None, :, None] / history.day_steps + phase)
    z = random.uniform(0.5, 1.5, (BLOCK, 1, len(METRICS))) * rhythm + 0.3 * random.standard_normal(shape)
    for entity in range(0, BLOCK, FAULTY_EVERY):
        begin = fault_start(block * BLOCK + entity, history)
        z[entity, begin : begin + FAULT_STEPS] += 6.0
    return 10.0 ** random.integers(0, 4, (BLOCK, 1, len(METRICS))) * (8 + z)


def fault_start(number: int, history: History = SHORT) -> int:
    """First step of the one fault of a faulty entity."""
    first = history.heard_from
    return first + 2 + number // FAULTY_EVERY % (history.steps - first - FAULT_STEPS - 3)


def telemetry(entities: int, day: int, history: History = SHORT) -> pa.Table:
    """Make the rows of one day, sorted by entity and time."""
    steps = history.day_steps
    at = slice(day * steps, (day + 1) * steps)
    blocks = [values(b, history)[:, at] for b in range(-(-entities // BLOCK))]
    found = np.concatenate(blocks)[:entities].reshape(-1, len(METRICS))
    ids = pa.array([entity_id(i) for i in range(entities)])
    start = np.datetime64(days(history)[day].start.replace(tzinfo=None), "us")
    times = start + np.arange(steps) * np.timedelta64(history.step_seconds, "s")
    columns = {
        "kind": pa.repeat(pa.scalar(KIND), len(found)),
        "entity_id": ids.take(pa.array(np.repeat(np.arange(entities), steps))),
        "timestamp": pa.array(np.tile(times, entities), pa.timestamp("us")).cast(TIME),
    }
    return pa.table(columns | {name: found[:, m].copy() for m, name in enumerate(METRICS)})


def feedback(entities: int, history: History = SHORT) -> pa.Table:
    """Make statements about every fiftieth entity: its fault, and the rest as normal."""
    rows = [row for number in range(0, entities, SPOKEN_EVERY) for row in _statements(number, history)]
    return pa.Table.from_pylist(rows, schema=FEEDBACK.schema)


def _statements(number: int, history: History) -> Iterator[dict]:
    begin, step = fault_start(number, history), timedelta(seconds=history.step_seconds)
    end = START + timedelta(days=history.days)
    spans = (("normal", history.heard_from, history.steps, 0), ("anomaly", begin, begin + FAULT_STEPS, 1))
    for verdict, first, stop, minute in spans:
        row = {
            "kind": KIND,
            "entity_id": entity_id(number),
            "start": START + first * step,
            "end": START + stop * step,
            "verdict": verdict,
            "source": "bench",
            "note": "",
            "recorded_at": end - timedelta(minutes=10 - minute),
        }
        yield row | {"feedback_id": feedback_id(row)}


def write_source(folder: Path, entities: int) -> None:
    """Write the fleet as files, for the real ingest."""
    (folder / "telemetry").mkdir(parents=True, exist_ok=True)
    for day in range(SHORT.days):
        pq.write_table(telemetry(entities, day), folder / "telemetry" / f"day-{day}.parquet", compression="zstd")
    pq.write_table(feedback(entities), folder / "feedback.parquet")


def write_store(uri: str, entities: int, history: History = SHORT) -> None:
    """Write the fleet as validated partitions, without ingest and validation."""
    store = open_store(uri)
    for day, span in enumerate(days(history)):
        table = telemetry(entities, day, history)
        lake.write_partition(store, "validated", KIND, span, "day", table, history.step_seconds, {})
    statements.append_feedback(store, feedback(entities, history))
