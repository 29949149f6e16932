"""Telemetry to measure on: made here from a seed, or read from a folder of labelled telemetry.

Shapes: E entities, T samples, M metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fleetalign.config import ModelConfig
from fleetalign.contracts.feedback import intervals
from fleetalign.errors import BadInput
from fleetalign.model import normalizer
from fleetalign.storage.panel import Panel

METRICS = 19
STEP_SECONDS = 300
STEPS_PER_DAY = 86_400 // STEP_SECONDS
START = np.datetime64("2026-03-02T00:00:00", "us")
KIND = "bench"
STEPS_PER_INCIDENT = 900
INCIDENT_STEPS = (10, 60)
MEMORY_STEPS = 12
"""Length of the noise's memory."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """``panel`` without missing samples; ``labels`` int8 [E, T], 1 = anomaly; ``location``, ``scale`` f64 [E, M]."""

    panel: Panel
    labels: np.ndarray
    location: np.ndarray
    scale: np.ndarray

    def incidents(self, entity: int) -> np.ndarray:
        """Half-open index pairs int64 [G, 2]."""
        return intervals(self.labels[entity] == 1)

    def windows(self, entity: int, count: int, window_steps: int) -> np.ndarray:
        """Raw windows float64 [count, M, W], copied; they start again from the first when the series is too short."""
        every = np.lib.stride_tricks.sliding_window_view(self.panel.values[entity], window_steps, axis=0)
        return np.ascontiguousarray(every[np.arange(count) % len(every)])


def simulated(entities: int, steps: int, seed: int, metrics: int = METRICS) -> Telemetry:
    """Entities with a daily rhythm, a load that their metrics share, noise with memory, and labelled incidents."""
    random = np.random.default_rng(seed)
    day = 2 * np.pi * np.arange(steps) / STEPS_PER_DAY
    load = np.sin(day + random.uniform(0, 2 * np.pi, (entities, 1))) + 0.15 * _noise(random, (entities, steps))
    follows = random.uniform(0.4, 1.2, (entities, 1, metrics)) * random.choice([-1, 1], (entities, 1, metrics))
    own = 0.3 * _noise(random, (entities * metrics, steps)).reshape(entities, metrics, steps).transpose(0, 2, 1)
    z = follows * load[:, :, None] + own
    labels = np.zeros((entities, steps), dtype=np.int8)
    for entity in range(entities):
        for _ in range(max(1, steps // STEPS_PER_INCIDENT)):
            length = int(random.integers(*INCIDENT_STEPS))
            start = int(random.integers(0, max(1, steps - length)))
            struck = random.random(metrics) < 0.5
            z[entity, start : start + length, struck] += random.uniform(2, 6)
            labels[entity, start : start + length] = 1
    return _telemetry(10.0 ** random.integers(-1, 5, (entities, 1, metrics)) * (8 + z), labels)


def read(folder: Path, entities: int, steps: int) -> Telemetry:
    """Read the last ``steps`` samples of the first entities in ``folder/services.parquet``.

    Columns: entity_id, timestamp, split, label (1 = anomaly), and metrics. Missing samples take the last value before
    them, because the published way knows none. Raises BadInput when there are fewer samples or entities.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = folder / "services.parquet"
    try:
        table = pq.read_table(path)
    except OSError as error:
        raise BadInput(f"{path}: {error}; the folder must hold services.parquet") from None
    names = [n for n in table.schema.names if n not in ("entity_id", "timestamp", "split", "label")]
    ids = sorted(pc.unique(table["entity_id"].cast("string")).to_pylist())[:entities]
    values, labels = [], []
    for entity in ids:
        mine = table.filter(pc.equal(table["entity_id"].cast("string"), entity)).sort_by("timestamp")
        mine = mine.slice(max(0, mine.num_rows - steps))
        columns = np.stack([mine[n].to_numpy().astype(np.float64) for n in names], axis=1)
        values.append(_filled(columns))
        labels.append(mine["label"].to_numpy() == 1)
    if len(ids) < entities or min(map(len, values)) < steps:
        raise BadInput(f"{path}: fewer than {entities} entities of {steps} samples; use a larger file or the quick run")
    return _telemetry(np.stack(values), np.stack(labels).astype(np.int8))


def _telemetry(values: np.ndarray, labels: np.ndarray) -> Telemetry:
    entities, steps, metrics = values.shape
    panel = Panel(
        kind=KIND,
        entity_ids=tuple(f"e{i:03d}" for i in range(entities)),
        metrics=tuple(f"m{i:02d}" for i in range(metrics)),
        start=START,
        step_seconds=STEP_SECONDS,
        values=values,
        first=np.zeros(entities, dtype=np.int64),
        last=np.full(entities, steps - 1, dtype=np.int64),
    )
    location, scale = normalizer.build(panel, ModelConfig(), 1).lookup()
    return Telemetry(panel, labels, location, scale)


def _noise(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Noise [n, T] of unit variance, each sample a weighted sum of the last few draws."""
    weights = 0.8 ** np.arange(MEMORY_STEPS)
    weights /= np.sqrt((weights**2).sum())
    draws = random.standard_normal((shape[0], shape[1] + MEMORY_STEPS - 1))
    return np.stack([np.convolve(row, weights, mode="valid") for row in draws])


def _filled(values: np.ndarray) -> np.ndarray:
    """``values`` [T, M] with each missing sample replaced by the one before, 0 at the start."""
    known = np.where(np.isfinite(values), np.arange(len(values))[:, None], 0)
    filled = np.take_along_axis(values, np.maximum.accumulate(known, axis=0), axis=0)
    return np.nan_to_num(filled, nan=0.0, posinf=0.0, neginf=0.0)
