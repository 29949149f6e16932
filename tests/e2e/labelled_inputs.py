"""Labelled public telemetry as a user would have it: a telemetry file, a feedback file and ranges.

Feedback is made from labels of the ``test`` split: the first 30 % is what operators said before alignment (the
``calibrate`` range), the last 70 % is what the release is judged on. Nothing of the last 70 % reaches a threshold.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CALIBRATE_SHARE = 0.3


@dataclass(frozen=True)
class Inputs:
    telemetry: Path
    feedback: Path
    params: Path


def write_inputs(source: Path, folder: Path, kind: str, window_steps: int = 100, overrides: str = "") -> Inputs:
    """Split ``source`` (entity_id, timestamp, split, metrics, label) into the files of a ``fleetalign run``."""
    table = pq.read_table(source)
    table = table.set_column(0, "entity_id", table["entity_id"].cast(pa.string()))
    table = table.set_column(table.schema.get_field_index("split"), "split", table["split"].cast(pa.string()))
    times = table["timestamp"].to_numpy().astype("datetime64[us]")
    step = np.median(np.diff(np.unique(times)))
    test = table.filter(pc.equal(table["split"], "test"))
    test_times = test["timestamp"].to_numpy().astype("datetime64[us]")
    start, end = test_times.min(), test_times.max() + step
    cut = start + ((end - start) * CALIBRATE_SHARE).astype("timedelta64[us]") // step * step
    gap = window_steps * step
    folder.mkdir(parents=True, exist_ok=True)
    inputs = Inputs(folder / "telemetry.parquet", folder / "feedback.csv", folder / "params.yaml")
    pq.write_table(table.drop_columns(["split", "label"]), inputs.telemetry)
    inputs.feedback.write_text(
        "\n".join(["kind,entity_id,start,end,verdict,source", *_feedback(test, kind, step)]) + "\n"
    )
    ranges = {"train": (times.min(), start - gap), "calibrate": (start, cut), "judge": (cut + gap, end)}
    lines = [f"  {name}: [{_iso(a)}, {_iso(b)}]" for name, (a, b) in ranges.items()]
    inputs.params.write_text("\n".join(["ranges:", *lines, overrides]) + "\n")
    return inputs


def _feedback(test: pa.Table, kind: str, step: np.timedelta64) -> list[str]:
    """Every labelled run of every entity as one statement: anomaly or normal."""
    lines = []
    for entity in sorted(pc.unique(test["entity_id"]).to_pylist()):
        mine = test.filter(pc.equal(test["entity_id"], entity)).sort_by("timestamp")
        at = mine["timestamp"].to_numpy().astype("datetime64[us]")
        label = mine["label"].to_numpy(zero_copy_only=False)
        edges = np.concatenate(([0], np.flatnonzero(np.diff(label)) + 1, [len(label)]))
        for a, b in itertools.pairwise(edges):
            verdict = "anomaly" if label[a] == 1 else "normal"
            lines.append(f"{kind},{entity},{_iso(at[a])},{_iso(at[b - 1] + step)},{verdict},labels")
    return lines


def _iso(instant: np.datetime64) -> str:
    return instant.astype("datetime64[s]").astype(datetime).replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")


def days(inputs: Inputs) -> list[datetime]:
    """Every day of the telemetry, for a run partition by partition."""
    column = pq.read_table(inputs.telemetry, columns=["timestamp"])["timestamp"]
    first, last = pc.min(column).as_py(), pc.max(column).as_py()
    day = first.replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    while day <= last:
        found.append(day)
        day += timedelta(days=1)
    return found
