"""A whole build of the same telemetry, both ways: fleetalign's steps from plan to release, and train + score + align.

The published way has no store, plan, gates, report or release; its side is what the papers call training and alignment.
"""

from __future__ import annotations

import itertools
import time
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from bench import published, published_align
from bench.speed.synthetic import STEP_SECONDS, STEPS_PER_DAY, Telemetry
from fleetalign import steps
from fleetalign.config import Config, ModelConfig, RegistryConfig
from fleetalign.contracts.feedback import feedback_id, intervals
from fleetalign.contracts.tables import FEEDBACK, TIME
from fleetalign.interval import Interval
from fleetalign.progress import Progress
from fleetalign.storage import lake, statements
from fleetalign.storage.connect import open_store

FEEDBACK_SHARE = 0.3
"""Operators speak about this last share of the time; alignment is calibrated there."""


def settings(network: str) -> Config:
    """Return the defaults without the data registry, whose work is that of git and DVC."""
    return Config(model=ModelConfig(network=network), registry=RegistryConfig(enabled=False))


def feedback_from(telemetry: Telemetry) -> int:
    """First sample that operators speak about, at a whole hour."""
    hour = 3600 // STEP_SECONDS
    return int(telemetry.panel.values.shape[1] * (1 - FEEDBACK_SHARE)) // hour * hour


def fill_store(uri: str, telemetry: Telemetry) -> None:
    """Write ``telemetry`` as validated days, and what operators said about the last part of it."""
    store = open_store(uri)
    panel = telemetry.panel
    entities, count = telemetry.labels.shape
    for first in range(0, count, STEPS_PER_DAY):
        day = slice(first, min(first + STEPS_PER_DAY, count))
        times = panel.times[day]
        columns = {
            "kind": pa.array([panel.kind] * (entities * len(times))),
            "entity_id": pa.array(np.repeat(panel.entity_ids, len(times))),
            "timestamp": pa.array(np.tile(times, entities)).cast(TIME),
            **{name: panel.values[:, day, m].ravel() for m, name in enumerate(panel.metrics)},
        }
        start = _instant(times[0])
        span = Interval(start, start + timedelta(days=1))
        lake.write_partition(store, "validated", panel.kind, span, "day", pa.table(columns), STEP_SECONDS, {})
    statements.append_feedback(store, _statements(telemetry))


def _statements(telemetry: Telemetry) -> pa.Table:
    """Every sample of the last part is spoken of: anomaly or normal. A statement is recorded when its time is over."""
    first = feedback_from(telemetry)
    step = np.timedelta64(STEP_SECONDS, "s")
    rows = []
    for entity, labels in zip(telemetry.panel.entity_ids, telemetry.labels[:, first:], strict=True):
        for verdict, value in (("anomaly", 1), ("normal", 0)):
            for a, b in intervals(labels == value) + first:
                row = {
                    "kind": telemetry.panel.kind,
                    "entity_id": entity,
                    "start": _instant(telemetry.panel.times[a]),
                    "end": _instant(telemetry.panel.times[b - 1] + step),
                    "verdict": verdict,
                    "source": "bench",
                    "note": "",
                    "recorded_at": _instant(telemetry.panel.times[-1] + step),
                }
                rows.append(row | {"feedback_id": feedback_id(row)})
    return pa.Table.from_pylist(rows, schema=FEEDBACK.schema)


def _instant(time: np.datetime64) -> datetime:
    return Interval.parse(f"{time}Z", f"{time + np.timedelta64(1, 's')}Z").start


def build(network: str, uri: str, progress: Progress | None = None) -> dict[str, float]:
    """Plan, pre-train, align, release over a store made by ``fill_store``; returns the seconds of each step."""
    config = settings(network)
    marks = [("", time.perf_counter())]

    def mark(step: str) -> None:
        marks.append((step, time.perf_counter()))

    plan_id = steps.plan(config, uri)["plan_id"]
    mark("plan")
    steps.pretrain(config, uri, plan_id, progress=progress)
    mark("pretrain")
    for shard in steps.shards(config, uri, plan_id):
        steps.align_shard(config, uri, plan_id, shard["index"], progress=progress)
    mark("align shards")
    steps.align_reduce(config, uri, plan_id)
    mark("align reduce")
    steps.release(config, uri, plan_id, progress=progress)
    mark("release")
    return {step: at - before for (_, before), (step, at) in itertools.pairwise(marks)}


def published_build(telemetry: Telemetry, progress: Progress | None = None) -> list[published_align.Aligned]:
    """Standardise, train with the published defaults before the feedback, score the rest and align every entity."""
    first = feedback_from(telemetry)
    values = telemetry.panel.values
    location, scale = values[:, :first].mean(axis=1), values[:, :first].std(axis=1) + 1e-9
    series = [published.standardise(v, m, s) for v, m, s in zip(values, location, scale, strict=True)]
    training = published.WindowDataset([s[:first] for s in series], published.WINDOW_STEPS)
    network = published.fit(training, progress=progress).network
    aligned = []
    for one, labels in zip(series, telemetry.labels, strict=True):
        seen = published.WindowDataset([one[first - published.WINDOW_STEPS + 1 :]], published.WINDOW_STEPS)
        aligned.append(published_align.align(published.squared_errors(network, seen), labels[first:]))
    return aligned
