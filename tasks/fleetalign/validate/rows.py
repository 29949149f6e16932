"""The rows of a partition: those outside of it are taken out, those of one slot become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fleetalign.contracts.arrays import Bools
from fleetalign.contracts.phases import Phases, nearest_slots
from fleetalign.contracts.slots import merge_rows, slot_times, slots_of, step_width
from fleetalign.contracts.tables import KEY_COLUMNS, QUARANTINED_CELLS, QUARANTINED_ROWS, TIME
from fleetalign.interval import Interval
from fleetalign.storage.quarantine import Rule, rows_as_json


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """What became of the rows of a partition."""

    kept: pa.Table
    """At most one row per entity and slot."""
    merged: int
    """Number of rows that went into the row of another one."""
    outside: pa.Table
    """Quarantined rows, outside the partition."""
    conflicts: pa.Table
    """Quarantined cells: values that a later, unequal one of their slot replaced."""
    contradicted: pa.Table
    """The rows of ``conflicts``, one each."""


def check_rows(
    table: pa.Table, interval: Interval, step_seconds: int, origin: str, phases: pa.Table | None = None
) -> CheckedRows:
    """Keep at most one row per entity and slot of ``table`` (telemetry by entity and time).

    A row belongs to the slot nearest to it after the phase of its entity (``phases``, PHASES), on the grid of
    ``step_seconds`` that starts with the partition; without phases to the slot that it lies in. Rows of one slot are
    merged cell by cell; the later of two unequal values stays, in equal times the last in file order.
    """
    start = np.datetime64(interval.start.replace(tzinfo=None), "us")
    end = np.datetime64(interval.end.replace(tzinfo=None), "us")
    times = table["timestamp"].to_numpy().astype("datetime64[us]")
    length = (end - start) // step_width(step_seconds)
    if phases is None:
        slots = slots_of(times, step_seconds, start)
        inside = (slots >= 0) & (slots < length)
    else:
        slots = nearest_slots(times, step_seconds, Phases(phases).of(table["entity_id"]), start)
        # Ingest chose the partition, for a row near its end by the phase of the day before.
        inside = (slots >= -1) & (slots <= length)
        slots = np.clip(slots, 0, length - 1)
    outside = _quarantined(table, ~inside, Rule.OUTSIDE_PARTITION, origin)
    table, slots = table.filter(pa.array(inside)), slots[inside]
    metrics = [name for name in table.schema.names if name not in KEY_COLUMNS]
    kept, last, replaced = merge_rows(table, slots, metrics)
    at = pa.array(slot_times(slots[last], step_seconds, start)).cast(TIME)
    kept = kept.set_column(kept.schema.get_field_index("timestamp"), "timestamp", at)
    contradicted = np.zeros(table.num_rows, dtype=np.bool_)
    conflicts = [QUARANTINED_CELLS.empty()]
    for metric, lost in replaced.items():
        contradicted |= lost
        conflicts.append(_cells(table, metric, lost))
    return CheckedRows(
        kept, int((~last).sum()), outside, pa.concat_tables(conflicts), table.filter(pa.array(contradicted))
    )


def _cells(table: pa.Table, metric: str, lost: Bools) -> pa.Table:
    rows = table.filter(pa.array(lost))
    texts = [repr(value) for value in rows[metric].to_pylist()]
    constant = ([metric] * rows.num_rows, texts, [Rule.CONFLICTING_VALUE] * rows.num_rows)
    return pa.table([*(rows[name] for name in KEY_COLUMNS), *constant], schema=QUARANTINED_CELLS.schema)


def _quarantined(table: pa.Table, bad: Bools, rule: Rule, origin: str) -> pa.Table:
    rows = table.filter(pa.array(bad))
    texts = rows["timestamp"].cast(pa.string())
    constant = ([rule] * rows.num_rows, [origin] * rows.num_rows)
    return pa.table(
        [rows["kind"], rows["entity_id"], texts, rows_as_json(rows), *constant], schema=QUARANTINED_ROWS.schema
    )
