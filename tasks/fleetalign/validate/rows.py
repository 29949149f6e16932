"""Whole rows that cannot be kept: outside the partition, or not the last in their slot."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fleetalign.contracts.arrays import Bools
from fleetalign.contracts.slots import last_in_slot, slot_times, slots_of
from fleetalign.contracts.tables import QUARANTINED_ROWS, TIME
from fleetalign.interval import Interval
from fleetalign.storage.quarantine import Rule, rows_as_json


def check_rows(table: pa.Table, interval: Interval, step_seconds: int, origin: str) -> tuple[pa.Table, pa.Table]:
    """Keep at most one row per entity and slot of ``table`` (telemetry by entity and time).

    Timestamps are floored to the grid of ``step_seconds`` that starts with the partition. Of several rows in one
    slot the latest stays, of equal times the last in file order. Returns the kept rows and the quarantined ones.
    """
    start = np.datetime64(interval.start.replace(tzinfo=None), "us")
    end = np.datetime64(interval.end.replace(tzinfo=None), "us")
    times = table["timestamp"].to_numpy().astype("datetime64[us]")
    inside = (times >= start) & (times < end)
    outside_rows = _quarantined(table, ~inside, Rule.OUTSIDE_PARTITION, origin)
    table, times = table.filter(pa.array(inside)), times[inside]
    slots = slots_of(times, step_seconds, start)
    entities = table["entity_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    last = last_in_slot(entities, slots)
    duplicates = _quarantined(table, ~last, Rule.DUPLICATE_TIMESTAMP, origin)
    floored = pa.array(slot_times(slots[last], step_seconds, start)).cast(TIME)
    position = table.schema.get_field_index("timestamp")
    kept = table.filter(pa.array(last)).set_column(position, "timestamp", floored)
    return kept, pa.concat_tables([outside_rows, duplicates])


def _quarantined(table: pa.Table, bad: Bools, rule: Rule, origin: str) -> pa.Table:
    rows = table.filter(pa.array(bad))
    texts = rows["timestamp"].cast(pa.string())
    constant = ([rule] * rows.num_rows, [origin] * rows.num_rows)
    return pa.table(
        [rows["kind"], rows["entity_id"], texts, rows_as_json(rows), *constant], schema=QUARANTINED_ROWS.schema
    )
