"""Late rows into stored partitions.

What is stored is read again as if the rows had come with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import KEY_COLUMNS, TELEMETRY
from fleetalign.ingest.placing import EDGE
from fleetalign.interval import LENGTHS, Granularity, Interval
from fleetalign.storage.lake import Partition, get_partition, read_partition
from fleetalign.storage.store import Store


def held_partitions(
    store: Store, kind: str, times: Iterable[pa.ChunkedArray], granularity: Granularity
) -> list[Partition]:
    """Return the stored raw partitions that rows of these times may belong to.

    Their neighbours are among them.

    A neighbour may hold a sample of theirs that jitter moved over the edge, on which their phases depend.
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
    """Turn telemetry rows into samples, without empty cells.

    They have the columns kind, entity_id, timestamp, metric and value.
    """
    parts = []
    for metric in (name for name in rows.schema.names if name not in KEY_COLUMNS):
        seen = rows.select([*KEY_COLUMNS, metric]).filter(pc.is_valid(rows[metric]))
        names = pa.repeat(pa.scalar(metric), seen.num_rows)
        parts.append(seen.select(KEY_COLUMNS).append_column("metric", names).append_column("value", seen[metric]))
    samples = pa.concat_tables(parts)
    order = pc.sort_indices(samples, sort_keys=[("entity_id", "ascending"), ("timestamp", "ascending")])
    return samples.take(order)


def without_repeats(rows: pa.Table, held: pa.Table) -> pa.Table:
    """Leave out the telemetry ``rows`` that ``held`` has already.

    Those are of one entity and time, with equal values.

    So that merging the same file again changes nothing.
    """
    names = [name for name in rows.schema.names if name not in KEY_COLUMNS]
    keyed = ["entity_id", "timestamp"]
    numbered = held.select([*keyed, *(name for name in names if name in held.schema.names)])
    numbered = numbered.append_column("__row__", pa.array(np.arange(held.num_rows, dtype=np.int64)))
    last = numbered.select([*keyed, "__row__"]).group_by(keyed).aggregate([("__row__", "max")])
    mine = rows.select(keyed).append_column("__mine__", pa.array(np.arange(rows.num_rows, dtype=np.int64)))
    pairs = mine.join(last, keyed, join_type="inner")
    own, other = pairs["__mine__"].to_numpy(), pairs["__row___max"].to_numpy()
    same = np.ones(len(own), dtype=np.bool_)
    for name in names:
        value = rows[name].to_numpy(zero_copy_only=False).astype(np.float64)[own]
        if name in held.schema.names:
            same &= np.isnan(value) | (value == held[name].to_numpy(zero_copy_only=False).astype(np.float64)[other])
        else:
            same &= np.isnan(value)
    fresh = np.ones(rows.num_rows, dtype=np.bool_)
    fresh[own[same]] = False
    return rows.filter(pa.array(fresh))
