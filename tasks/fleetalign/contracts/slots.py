"""The sampling grid.

Slot ``k`` covers ``[start + k * step, start + (k + 1) * step)``, and one row of it counts.

Of several rows of one entity in one slot the last in (time, table) order counts. ``start`` is 1970 or any multiple of
the step since then, such as the start of a partition.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fleetalign.contracts.arrays import Bools, Ints

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


def last_in_slot(entities: Ints, slots: Ints) -> Bools:
    """Mark the row that counts in each slot, bool [row]; rows are sorted by entity, then time.

    ``entities`` numbers the entity of each row, ``slots`` its slot.
    """
    last = np.ones(len(slots), dtype=np.bool_)
    last[:-1] = (np.diff(slots) != 0) | (np.diff(entities) != 0)
    return last
