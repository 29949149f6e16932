"""One row per entity: what Great Expectations checks instead of every sample."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Bools, Floats
from fleetalign.contracts.tables import KEY_COLUMNS
from fleetalign.interval import Interval

SUMMARY_COLUMNS = (
    "entity_id",
    "rows",
    "inserted_rows",
    "quarantined_rows",
    "quarantined_share",
    "absent_metrics",
    "missing_share",
    "constant_share",
    "longest_gap_steps",
    "longest_gap_share",
    "first_sample_share",
    "last_sample_share",
    "lone_samples",
)


def summarise(
    validated: pa.Table,
    quarantined_rows: pa.Table,
    interval: Interval,
    step_seconds: int,
    measured: pa.Table,
    contradicted: pa.Table,
) -> pa.Table:
    """Summarise every entity of ``validated`` or ``quarantined_rows`` in one row, sorted.

    ``measured`` is ``validated`` before rows were inserted; ``contradicted`` holds rows that lost a value to a later row of
    their slot, and counts like ``quarantined_rows``. Shares are in [0, 1]: ``missing_share`` of the cells of
    metrics that the entity has at all (1 when it has none), ``constant_share`` of those metrics that never change,
    ``longest_gap_share`` and the first and last sample's time of the partition's length. ``lone_samples`` is 1 for an
    entity with a single row in a partition that has room for more.
    """
    metrics = [n for n in validated.schema.names if n not in KEY_COLUMNS]
    rows = _counts(validated)
    kept, quarantined = _counts(measured), Counter(_counts(quarantined_rows)) + Counter(_counts(contradicted))
    names = sorted({*rows, *quarantined})
    starts = dict(zip(rows, np.concatenate(([0], np.cumsum(list(rows.values()))))[:-1].tolist(), strict=True))
    values = {m: validated[m].to_numpy(zero_copy_only=False).astype(np.float64, copy=False) for m in metrics}
    times = validated["timestamp"].to_numpy().astype("datetime64[us]")
    start = np.datetime64(interval.start.replace(tzinfo=None), "us")
    partition_steps = interval.seconds / step_seconds
    records = []
    for name in names:
        part = slice(starts.get(name, 0), starts.get(name, 0) + rows.get(name, 0))
        block = np.stack([values[m][part] for m in metrics]) if metrics else np.empty((0, rows.get(name, 0)))
        present = ~np.isnan(block)
        exported = present.any(axis=1)
        silent: Bools = ~np.any(present, axis=0)
        gap = _longest_run(silent)
        samples = (times[part] - start) / np.timedelta64(1, "s") / interval.seconds
        lost = quarantined.get(name, 0)
        records.append(
            {
                "entity_id": name,
                "rows": rows.get(name, 0),
                "inserted_rows": rows.get(name, 0) - kept.get(name, 0),
                "quarantined_rows": lost,
                "quarantined_share": lost / (lost + kept.get(name, 0)),
                "absent_metrics": int((~exported).sum()),
                "missing_share": float(1 - present[exported].mean()) if exported.any() else 1.0,
                "constant_share": _constant_share(block[exported]),
                "longest_gap_steps": gap,
                "longest_gap_share": gap / partition_steps,
                "first_sample_share": float(samples[0]) if len(samples) else 1.0,
                "last_sample_share": float(samples[-1]) if len(samples) else 0.0,
                "lone_samples": int(kept.get(name, 0) == 1 < partition_steps),
            }
        )
    return pa.Table.from_pylist(records, schema=_schema())


def _schema() -> pa.Schema:
    integers = {"rows", "inserted_rows", "quarantined_rows", "absent_metrics", "longest_gap_steps", "lone_samples"}
    return pa.schema(
        [
            (n, pa.string() if n == "entity_id" else pa.int64() if n in integers else pa.float64())
            for n in SUMMARY_COLUMNS
        ]
    )


def _counts(table: pa.Table) -> dict[str, int]:
    """Count the rows of each entity, entities in the order of the table."""
    counts = pc.value_counts(table["entity_id"].combine_chunks())
    return {c["values"]: c["counts"] for c in counts.to_pylist()}


def _longest_run(mask: Bools) -> int:
    """Return the length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _constant_share(block: Floats) -> float:
    """Return the share of metrics of ``block`` [metric, row] that never change."""
    if len(block) == 0:
        return 0.0
    return float((np.nanmin(block, axis=1) == np.nanmax(block, axis=1)).mean())
