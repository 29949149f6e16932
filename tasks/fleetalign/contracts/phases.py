"""When an entity reports, and which slot its samples belong to (contracts 2.1).

The phase of an entity is the circular median of its times modulo the step. A sample belongs to the slot nearest to it
after that phase, so that jitter below half a step loses nothing, wherever in the interval the entity reports.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Ints
from fleetalign.contracts.slots import EPOCH, Times, slot_times, step_width
from fleetalign.contracts.tables import PHASES, TIME


class Phases:
    """The phases of one kind's entities, in microseconds after the start of a slot.

    An entity without a row has phase 0.
    """

    def __init__(self, table: pa.Table | None = None) -> None:
        """Take the rows of ``table`` (PHASES), all of one kind; None: every phase is 0."""
        table = PHASES.empty() if table is None else table
        self._ids = table["entity_id"].combine_chunks()
        self._phases = np.append(table["phase_us"].to_numpy(), 0).astype(np.int64)

    def of(self, entity_ids: pa.ChunkedArray) -> Ints:
        """Return the phase of each of ``entity_ids`` [row], int64 [row]."""
        if not len(self._ids):
            return np.zeros(len(entity_ids), dtype=np.int64)
        encoded = entity_ids.combine_chunks().dictionary_encode()
        places = pc.fill_null(pc.index_in(encoded.dictionary, value_set=self._ids), len(self._ids))
        found: Ints = self._phases[places.to_numpy()][encoded.indices.to_numpy()]
        return found

    def on_grid(self, rows: pa.Table, step_seconds: int) -> pa.Table:
        """Return ``rows`` (telemetry of the kind by entity and time), each timed at its slot.

        The order stays, so that of several rows of a slot the last is still the newest.
        """
        times = rows["timestamp"].to_numpy().astype("datetime64[us]")
        slots = nearest_slots(times, step_seconds, self.of(rows["entity_id"]))
        moved = pa.array(slot_times(slots, step_seconds)).cast(TIME)
        return rows.set_column(rows.schema.get_field_index("timestamp"), "timestamp", moved)


def nearest_slots(times: Times, step_seconds: int, phases: Ints, start: np.datetime64 = EPOCH) -> Ints:
    """Return the slot of each of ``times`` [row], int64 [row].

    ``phases`` [row] is that of its entity.

    Slot 0 begins at ``start``; of two slots equally near the later one is taken.
    """
    step = step_width(step_seconds)
    slots: Ints = (times - start - phases.astype("timedelta64[us]") + step // 2) // step
    return slots


def fit_phases(times: Times, groups: Ints, step_seconds: int) -> Ints:
    """Return the phase of each group of samples, int64 [group] in microseconds.

    It is the circular median of ``times`` [row] modulo the step, the circle cut where the samples leave the widest gap.
    It lies in [0, step), and the slot of most samples is the one that they lie in. Where samples lie on both sides of
    the start of a slot and the median in the last quarter of the one before, the phase is negative, from -step / 4: a
    job of every full minute may report early.

    Args:
        times: datetime64[us] [row].
        groups: Number of the group of each row, from 0 without holes, int [row].
        step_seconds: The sampling interval.
    """
    step = int(step_width(step_seconds).astype(np.int64))
    offsets = times.astype(np.int64) % step
    count = int(groups.max()) + 1 if len(groups) else 0
    if not offsets.any():
        return np.zeros(count, dtype=np.int64)
    order = np.lexsort((offsets, groups))
    offsets, groups = offsets[order], groups[order]
    first = np.searchsorted(groups, np.arange(count))
    size = np.diff(np.append(first, len(groups)))
    following = np.arange(len(offsets)) + 1
    last = first + size - 1
    following[last] = first
    gap = offsets[following] - offsets
    gap[last] += step
    # The gap over the start of a slot counts where it is among the widest: nothing is reported early then.
    widest = np.maximum.reduceat(gap, first) if count else gap
    cut = np.where(gap[last] == widest, last, first + _first_true(gap == widest[groups], first))
    early = cut != last
    begins = np.where(early, cut + 1, first)
    median = first + (begins - first + (size - 1) // 2) % size
    phases: Ints = offsets[median]
    return np.where(early & (phases >= step - step // 4), phases - step, phases)


def _first_true(marked: np.ndarray, first: Ints) -> Ints:
    """Return how many rows after ``first`` [group] the first marked row of each group comes."""
    rows = np.flatnonzero(marked)
    found: Ints = rows[np.searchsorted(rows, first)] - first
    return found


def phase_table(kind: str, entity_ids: pa.Array, phases: Ints) -> pa.Table:
    """Make the table (PHASES) of the ``phases`` [entity] of one kind."""
    kinds = pa.repeat(pa.scalar(kind), len(phases))
    return PHASES.conform(pa.table({"kind": kinds, "entity_id": entity_ids, "phase_us": phases}))


def newest_phases(tables: Iterable[pa.Table]) -> pa.Table:
    """Merge phases (PHASES) of consecutive times.

    The last row of an entity counts; one of 0 is left out.
    """
    joined = pa.concat_tables([PHASES.empty(), *tables])
    numbered = joined.append_column("__position__", pa.array(np.arange(joined.num_rows)))
    newest = numbered.group_by(["kind", "entity_id"], use_threads=False).aggregate([("__position__", "max")])
    merged = joined.take(newest["__position___max"])
    return PHASES.conform(merged.filter(pc.not_equal(merged["phase_us"], 0)))
