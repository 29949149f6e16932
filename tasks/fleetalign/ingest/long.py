"""Long samples (one row each) to wide rows (one per entity and slot of the sampling grid)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fleetalign.contracts.arrays import Bools, Ints
from fleetalign.contracts.tables import QUARANTINED_CELLS, TELEMETRY
from fleetalign.ingest.placing import SLOT
from fleetalign.storage.quarantine import Rule


@dataclass(frozen=True, slots=True)
class Pivoted:
    """Telemetry rows, and the quarantined cells of samples that another, unequal one replaced."""

    wide: pa.Table
    duplicates: pa.Table


def series_of(table: pa.Table, is_long: bool) -> Ints:
    """Return the number of each row's series: its entity, or its (entity, metric)."""
    entities = table["entity_id"].combine_chunks().dictionary_encode()
    if not is_long:
        return _codes(entities)
    metrics = table["metric"].combine_chunks().dictionary_encode()
    return _codes(entities) * max(1, len(metrics.dictionary)) + _codes(metrics)


def pivot(samples: pa.Table) -> Pivoted:
    """Turn samples of one kind into telemetry rows.

    ``samples`` has the columns kind, entity_id, timestamp, metric, value and SLOT, the rows have SLOT too.

    Rows come by entity and time. Samples of one entity in one slot become one row, timed at its first sample; of two
    values of one metric there, the last in file order is kept; an unequal other one goes to the quarantined cells.
    """
    entities = samples["entity_id"].combine_chunks().dictionary_encode()
    metrics = samples["metric"].combine_chunks().dictionary_encode()
    entity_codes, metric_codes = _codes(entities), _codes(metrics)
    times = samples["timestamp"].to_numpy().astype("datetime64[us]")
    num_metrics = max(1, len(metrics.dictionary))
    slots = samples[SLOT].to_numpy().astype(np.int64)
    _, first, rows = np.unique(np.stack([entity_codes, slots]), axis=1, return_index=True, return_inverse=True)
    rows = rows.reshape(-1)
    given = samples["value"].to_numpy()
    seen = np.flatnonzero(~np.isnan(given))
    values = np.full((len(first), num_metrics), np.nan)
    values[rows[seen], metric_codes[seen]] = given[seen]  # numpy lets the last of several win
    lost = np.zeros(len(given), dtype=bool)
    lost[seen] = given[seen] != values[rows[seen], metric_codes[seen]]
    row_times = np.full(len(first), np.iinfo(np.int64).max)
    np.minimum.at(row_times, rows, times.astype(np.int64))
    key = samples.select(["kind", "entity_id", SLOT]).take(pa.array(first))
    wide = pa.table(
        {
            "kind": key["kind"],
            "entity_id": key["entity_id"],
            SLOT: key[SLOT],
            "timestamp": pa.array(row_times).cast(pa.timestamp("us")).cast(TELEMETRY.schema.field("timestamp").type),
            **{
                name: pa.array(values[:, i], mask=np.isnan(values[:, i]))
                for i, name in enumerate(metrics.dictionary.to_pylist())
            },
        }
    )
    return Pivoted(wide, _conflicts(samples, lost))


def _codes(encoded: pa.DictionaryArray) -> Ints:
    codes: Ints = encoded.indices.to_numpy().astype(np.int64)
    return codes


def _conflicts(samples: pa.Table, lost: Bools) -> pa.Table:
    part = samples.filter(pa.array(lost))
    return pa.table(
        [
            *part.select(["kind", "entity_id", "timestamp", "metric"]).columns,
            part["value"].cast(pa.string()),
            pa.repeat(pa.scalar(Rule.DUPLICATE_CELL), part.num_rows),
        ],
        schema=QUARANTINED_CELLS.schema,
    )
