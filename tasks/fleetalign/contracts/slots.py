"""The sampling grid.

Slot ``k`` covers ``[start + k * step, start + (k + 1) * step)``. Rows of one entity in one slot are merged cell by cell:
of a metric the last value in (time, table) order counts (contracts 2.1). ``start`` is 1970 or any multiple of the step
since then, such as the start of a partition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fleetalign.contracts.arrays import Bools, Floats, Ints

Times = npt.NDArray[np.datetime64]
"""datetime64[us], UTC."""
EPOCH = np.datetime64(0, "us")


def step_width(step_seconds: int) -> np.timedelta64:
    """Return the length of one slot, in microseconds."""
    return np.timedelta64(int(step_seconds) * 1_000_000, "us")


def slots_of(times: Times, step_seconds: int, start: np.datetime64 = EPOCH) -> Ints:
    """Return the slot of each of ``times`` [row], int64 [row]; slot 0 begins at ``start``."""
    slots: Ints = (times - start) // step_width(step_seconds)
    return slots


def slot_times(slots: Ints, step_seconds: int, start: np.datetime64 = EPOCH) -> Times:
    """Return where each of ``slots`` begins, datetime64[us]."""
    times: Times = start + slots * step_width(step_seconds)
    return times


def samples_apart(slots: Ints) -> int:
    """Return how many slots lie from one sample of an entity to its next, as a rule.

    It is the lower median of the distances of ``slots`` [sample] (ascending), 1 for fewer than three samples: an entity
    of 5-minute samples on a grid of minutes has 5.
    """
    distances = np.sort(np.diff(slots))
    return max(1, int(distances[(len(distances) - 1) // 2])) if len(distances) > 1 else 1


def samples_apart_each(groups: Ints, slots: Ints) -> Ints:
    """Return what ``samples_apart`` finds for each group of ``slots`` [row], int64 [group].

    ``groups`` [row] numbers them from 0 without holes; rows come in any order, and some may share a slot.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    order = np.lexsort((slots, groups))
    groups, slots = groups[order], slots[order]
    distances = np.diff(slots)
    within = (np.diff(groups) == 0) & (distances > 0)
    owners, distances = groups[1:][within], distances[within]
    order = np.lexsort((distances, owners))
    owners, distances = owners[order], distances[order]
    numbers = np.bincount(owners, minlength=count)
    middle = np.concatenate(([0], np.cumsum(numbers)[:-1])) + np.maximum(numbers - 1, 0) // 2
    apart = np.ones(count, dtype=np.int64)
    enough = numbers > 1
    apart[enough] = distances[middle[enough]]
    return apart


def merge_rows(table: pa.Table, slots: Ints, metrics: Sequence[str]) -> tuple[pa.Table, Bools, dict[str, Bools]]:
    """Merge the rows of ``table`` that share an entity and a slot of ``slots`` [row].

    The table is sorted by entity, then time.

    Returns:
        The merged rows, each with the keys of the last row of its slot; which rows these are, bool [row]; and for each
        metric where it occurs the values that another, unequal value of their slot replaced, bool [row].
    """
    entities = table["entity_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    last = np.ones(table.num_rows, dtype=np.bool_)
    last[:-1] = (np.diff(slots) != 0) | (np.diff(entities) != 0)
    if last.all():
        return table, last, {}
    group = np.cumsum(np.concatenate(([0], last[:-1])))
    merged, replaced = table.filter(pa.array(last)), {}
    for metric in metrics:
        values = table[metric].to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        seen = np.flatnonzero(~np.isnan(values))
        kept = np.full(merged.num_rows, np.nan)
        kept[group[seen]] = values[seen]
        lost = np.zeros(table.num_rows, dtype=np.bool_)
        lost[seen] = values[seen] != kept[group[seen]]
        if lost.any():
            replaced[metric] = lost
        position = merged.schema.get_field_index(metric)
        merged = merged.set_column(position, metric, pa.array(kept, mask=np.isnan(kept)))
    return merged, last, replaced


def stretch_starts(values: Floats, first: int, window_steps: int) -> Ints:
    """Return where the stretch of each grid position began, int64 [t].

    A stretch begins with the entity's first row (``first``, which may lie before the grid), and again with the first row
    after ``window_steps`` slots or more without one: a window there holds nothing of what was before. ``values`` is
    [t, metric], NaN where nothing was measured.
    """
    rows = np.flatnonzero(np.isfinite(values).any(axis=1))
    before = np.concatenate(([max(first, 0) - 1], rows[:-1])) if len(rows) else rows
    again = rows[rows - before > window_steps]
    starts = np.concatenate(([first], again[again > first]))
    found: Ints = starts[np.searchsorted(starts[1:], np.arange(len(values)), side="right")]
    return found
