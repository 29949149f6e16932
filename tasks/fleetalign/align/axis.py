"""The time that an entity is tabulated on: earlier incidents, then its calibrate range.

An incident that lies in the train range, or between the ranges, was left out of everything that was fitted. It is scored and
counted like one of the calibrate range; the normal time around it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetalign.contracts.arrays import Floats32, Ints
from fleetalign.contracts.feedback import ANOMALY, UNLABELLED


@dataclass(frozen=True, slots=True)
class Axis:
    """Intervals of the sampling grid, one after the other."""

    earlier: Ints
    """Of each incident that starts before the calibrate range the part before it: grid steps, int64 [n, 2]."""
    gaps: Ints
    """Samples of no score behind each of them, int64 [n]: enough that its page ends there, never more than there are."""
    labels: npt.NDArray[np.int8]
    """[t]."""
    incidents: Ints
    """Half-open intervals on the axis, int64 [G, 2]."""

    def joined(self, scored: Callable[[int, int], Floats32], calibrate: Floats32) -> Floats32:
        """Return ``scored`` of every earlier part, then ``calibrate`` [C, n]: float32 [C, t].

        ``scored`` takes grid steps ``[start, stop)``.
        """
        parts: list[Floats32] = []
        for (start, stop), gap in zip(self.earlier.tolist(), self.gaps.tolist(), strict=True):
            parts += [scored(start, stop), np.full((len(calibrate), gap), np.nan, dtype=np.float32)]
        return np.concatenate([*parts, calibrate], axis=1) if parts else calibrate


def axis_of(labels: npt.NDArray[np.int8], incidents: Ints, start: int, merge_steps: int) -> Axis:
    """Lay out the axis of one entity.

    ``labels`` int8 [n] are those of the calibrate range, which begins at the grid step ``start``; ``incidents`` int64 [G, 2]
    are grid steps, ascending and disjoint. Runs of alarms with ``merge_steps`` samples between them are two pages.
    """
    earlier = incidents[incidents[:, 0] < start]
    parts = np.minimum(earlier, start)
    follows = np.append(parts[1:, 0], start)
    gaps = np.minimum(follows - parts[:, 1], merge_steps) if len(parts) else np.zeros(0, dtype=np.int64)
    lengths = parts[:, 1] - parts[:, 0]
    whole = np.repeat(np.tile([ANOMALY, UNLABELLED], len(parts)), np.stack([lengths, gaps], axis=1).ravel())
    begins = np.cumsum(lengths + gaps) - lengths - gaps
    moved = incidents - start + len(whole)
    moved[: len(parts)] = begins[:, None] + earlier - earlier[:, :1]
    return Axis(parts, gaps, np.concatenate([whole.astype(np.int8), labels]), moved)
