"""A small labelled set from a seed, in the form that ``bench.labelled`` reads: to try the benchmark where no data is.

Entities have a daily rhythm, noise and marked incidents, and their parts differ in length and start. Its figures say
nothing about any method.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = np.datetime64("2026-03-02T00:00:00", "us")


def write(
    path: Path,
    *,
    entities: int = 4,
    metrics: int = 3,
    train: int = 600,
    test: int = 900,
    step_seconds: int = 600,
    seed: int = 1,
) -> Path:
    """Write the set; entity ``i`` has 10 * i samples fewer in both parts and begins an hour later than the one before.

    An incident of 8 to 20 samples every 90 test samples moves most metrics.
    """
    random = np.random.default_rng(seed)
    step = np.timedelta64(step_seconds * 1_000_000, "us")
    parts = []
    for entity in range(entities):
        before, after = train - 10 * entity, test - 10 * entity
        at = np.arange(before + after)
        rhythm = np.sin(2 * np.pi * at * step_seconds / 86_400 + entity)
        values = 5 + rhythm[:, None] * random.uniform(0.5, 2, metrics) + random.normal(0, 0.3, (len(at), metrics))
        label = np.zeros(len(at), dtype=np.uint8)
        for begin in range(before + 30, before + after - 30, 90):
            end = begin + int(random.integers(8, 20))
            label[begin:end] = 1
            values[begin:end] += random.uniform(2, 4) * (random.random(metrics) < 0.8)
        columns = {
            "entity_id": pa.array([f"e{entity}"] * len(at)).dictionary_encode(),
            "timestamp": pa.array(START + (6 * entity + at) * step, pa.timestamp("us", tz="UTC")),
            "split": pa.array(np.where(at < before, "train", "test").tolist()).dictionary_encode(),
            **{f"m{m:02d}": pa.array(values[:, m].astype(np.float32)) for m in range(metrics)},
            "label": pa.array(label, mask=at < before),
        }
        parts.append(pa.table(columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(parts).unify_dictionaries(), path)
    return path
