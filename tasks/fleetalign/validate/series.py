"""Fills gaps with rows of nulls between the first and last sample of an entity."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fleetalign.contracts.slots import step_width
from fleetalign.contracts.tables import TIME


def fill_gaps(table: pa.Table, step_seconds: int) -> tuple[pa.Table, int]:
    """Fill the gaps of ``table`` (sorted telemetry, one row per slot) with rows of nulls.

    Returns the table and the number of rows inserted.
    """
    if table.num_rows == 0:
        return table, 0
    entities = table["entity_id"].combine_chunks().dictionary_encode()
    codes = entities.indices.to_numpy().astype(np.int64)
    times = table["timestamp"].to_numpy().astype("datetime64[us]")
    step = step_width(step_seconds)
    first_rows = np.flatnonzero(np.diff(codes, prepend=-1))
    last_rows = np.append(first_rows[1:], len(codes)) - 1
    lengths = ((times[last_rows] - times[first_rows]) // step + 1).astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    sources = np.full(int(lengths.sum()), -1, dtype=np.int64)
    sources[offsets[codes] + (times - times[first_rows][codes]) // step] = np.arange(len(codes))
    inserted = int((sources < 0).sum())
    if inserted == 0:
        return table, 0
    within = np.arange(len(sources)) - np.repeat(offsets, lengths)
    regular = np.repeat(times[first_rows], lengths) + within * step
    out = table.take(pa.array(sources, mask=sources < 0))
    for name, column in (
        ("kind", pa.repeat(table["kind"][0], len(sources))),
        ("entity_id", entities.dictionary.take(pa.array(np.repeat(codes[first_rows], lengths)))),
        ("timestamp", pa.array(regular).cast(TIME)),
    ):
        out = out.set_column(out.schema.get_field_index(name), name, column)
    return out, inserted
