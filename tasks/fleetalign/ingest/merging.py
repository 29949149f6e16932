"""Late rows into stored partitions.

What is stored is read again as if the rows had come with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import KEY_COLUMNS, TELEMETRY, sort_indices
from fleetalign.ingest.placing import EDGE
from fleetalign.interval import LENGTHS, Granularity, Interval
from fleetalign.storage.lake import Partition, get_partition, read_partition
from fleetalign.storage.store import Store


def held_partitions(
    store: Store, kind: str, times: Iterable[pa.ChunkedArray], granularity: Granularity
) -> list[Partition]:
    """Return the stored raw partitions that rows of these times may belong to.

    Their neighbours are among them: one may hold a sample of theirs that jitter moved over the edge, on which their
    phases depend.
    """
    length = LENGTHS[granularity]
    touched = {start for column in times for start in _starts(column, granularity)}
    starts = {start + beside * length for start in touched for beside in (-1, 0, 1)}
    parts = (Interval(start, start + length) for start in sorted(starts))
    found = (get_partition(store, "raw", kind, part, granularity) for part in parts)
    return [partition for partition in found if partition is not None]


def _starts(times: pa.ChunkedArray, granularity: Granularity) -> Iterator[datetime]:
    for moved in (-EDGE, timedelta(0), EDGE):
        yield from pc.unique(pc.floor_temporal(pc.add(times, pa.scalar(moved)), unit=granularity)).to_pylist()


def held_rows(store: Store, partitions: Iterable[Partition]) -> pa.Table:
    """Read the rows of stored raw partitions (TELEMETRY)."""
    tables = [TELEMETRY.empty(), *(read_partition(store, partition) for partition in partitions)]
    return pa.concat_tables(tables, promote_options="default")


def as_samples(rows: pa.Table) -> pa.Table:
    """Turn telemetry rows into samples, by entity and time.

    They have the columns kind, entity_id, timestamp, metric and value. Empty cells stay: a row of them is a sample too.
    """
    parts = [
        rows.select(KEY_COLUMNS)
        .append_column("metric", pa.repeat(pa.scalar(metric), rows.num_rows))
        .append_column("value", rows[metric])
        for metric in rows.schema.names
        if metric not in KEY_COLUMNS
    ]
    samples = pa.concat_tables(parts)
    return samples.take(sort_indices(samples, ("entity_id", "timestamp")))


def without_repeats(rows: pa.Table, held: pa.Table) -> pa.Table:
    """Leave out the telemetry ``rows`` that ``held`` has already: a file may come again.

    Each of their values is one of ``held`` of the same entity, time and metric: a sparse row may be spread over several.
    """
    keys = ["entity_id", "timestamp"]
    numbered = [
        table.select(keys).append_column(name, pa.array(np.arange(table.num_rows, dtype=np.int64)))
        for table, name in ((rows, "row"), (held, "held"))
    ]
    pairs = numbered[0].join(numbered[1], keys, join_type="inner")
    row, other = pairs["row"].to_numpy(), pairs["held"].to_numpy()
    repeats = np.zeros(rows.num_rows, dtype=np.bool_)
    repeats[row] = True
    for name in (name for name in rows.schema.names if name not in KEY_COLUMNS):
        values = rows[name].to_numpy(zero_copy_only=False).astype(np.float64)
        found = np.isnan(values)
        if name in held.schema.names:
            equal = values[row] == held[name].to_numpy(zero_copy_only=False).astype(np.float64)[other]
            found[row[equal]] = True
        repeats &= found
    return rows.filter(pa.array(~repeats))
