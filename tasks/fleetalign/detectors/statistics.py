"""Statistics of a graph per entity and metric.

A detector fits them, and the graph reads them as rows.
Shapes: E entity, M metric, K_own columns fitted per entity, K all columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fleetalign.contracts.arrays import Floats, Floats32
from fleetalign.storage.panel import Panel


class Fitter(Protocol):
    """Fits the ``own_statistics`` of a detector for one kind."""

    @property
    def fleet(self) -> tuple[float, ...]:
        """Values of the detector's ``fleet_statistics`` before any feedback exists."""
        ...

    def fit(self, panel: Panel, entity: int, start: int, stop: int, location: Floats, scale: Floats) -> Floats:
        """Return [M, K_own] of one entity over grid steps ``[start, stop)``; NaN where unknown.

        Args:
            panel: telemetry in raw units.
            entity: its row in ``panel``.
            start: first grid step.
            stop: grid step after the last one.
            location: [M], in raw units, NaN = unknown.
            scale: [M], in raw units.
        """
        ...

    def defaults(self, own: Floats) -> Floats:
        """Return the statistics [M, K_own] of an unknown entity.

        They follow from ``own`` [E, M, K_own], those of all known entities.
        """
        ...


def completed(own: Floats, default: Floats, fleet: Sequence[float] | Floats) -> Floats32:
    """Return statistics [..., M, K]: own columns, then the ``fleet`` columns.

    Unknown numbers of ``own`` [..., M, K_own] come from ``default``.
    """
    filled = np.where(np.isfinite(own), own, default)
    shared = np.broadcast_to(np.asarray(fleet), (*filled.shape[:-1], len(fleet)))
    return np.concatenate([filled, shared], axis=-1).astype(np.float32)
