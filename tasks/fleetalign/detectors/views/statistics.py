"""Statistics of the ``views`` graph per entity and metric: what is typical for it, fitted with the exported graph.

No torch: pre-training fits them for the fleet, align workers for entities that came later. See contracts.views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.graph import Graph
from fleetalign.detectors.views.roles import FLEET_STATISTICS, OWN_STATISTICS, STATE_SIZE, STATISTICS
from fleetalign.storage.panel import Panel
from fleetalign.storage.windows import WindowIndex

MAX_WINDOWS = 1_000
"""Windows per entity that typical errors are averaged over, evenly spread: their means are known to a few per cent."""
BATCH = 250
DEFAULT_FLEET = (1.0, 1.0, 0.5, 0.5, 0.3)
"""Weights of the views and smoothing while nobody has said anything: the two residual views count as one."""
ALL_QUIET = 1.0
"""Stands for statistics that nothing is known of: a metric nobody has measured."""


@dataclass(frozen=True, slots=True)
class Fitter:
    """Fits one kind's statistics. ``graph`` exposes its internal values; ``lags`` are the seasonal lags in steps."""

    graph: Graph
    lags: tuple[int, ...]
    clip: float

    def fit(
        self, panel: Panel, entity: int, start: int, stop: int, location: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        """float64 [metric, 4] in the order of OWN_STATISTICS over grid steps ``[start, stop)``; NaN where unknown.

        ``location``, ``scale`` float64 [metric].
        """
        out = np.full((len(panel.metrics), len(OWN_STATISTICS)), np.nan)
        known = np.isfinite(location) & (scale > 0)
        z = (np.asarray(panel.values[entity, start:stop]) - np.where(known, location, 0)) / np.where(known, scale, 1)
        z = np.clip(np.where(known & np.isfinite(z), z, np.nan), -self.clip, self.clip)
        seen = np.isfinite(z)
        if not seen.any():
            return out
        direction = first_direction(np.where(seen, z, 0.0))
        residual = residuals(np.where(seen, z, 0.0), seen, direction)
        out[:, 2] = np.where(seen.any(axis=0), direction, np.nan)
        out[:, 3] = _mean(np.abs(residual), seen)
        out[:, :2] = self._errors(panel, entity, start, stop, location, scale)
        return out

    def _errors(self, panel: Panel, entity: int, start: int, stop: int, location, scale) -> np.ndarray:
        one = Panel(
            panel.kind, (panel.entity_ids[entity],), panel.metrics, panel.start, panel.step_seconds,
            panel.values[entity : entity + 1], panel.first[entity : entity + 1], panel.last[entity : entity + 1],
        )  # fmt: skip
        windows = WindowIndex(one, start, stop, self.graph.window_steps, self.lags)
        count = len(windows)
        sums, numbers = np.zeros((2, len(location))), np.zeros((2, len(location)))
        known = np.isfinite(location) & (scale > 0)
        chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_WINDOWS)).astype(np.int64)) if count else []
        for batch in windows.batches(chosen, BATCH):
            if not len(batch.entity):
                continue
            present = np.isfinite(batch.values[..., -1]) & known
            errors = self.graph.values(("recent_error", "seasonal_error"), self._feeds(batch, location, scale, known))
            # The typical seasonal error is that of samples with a whole reference; without any, of all.
            whole = np.isfinite(batch.seasonal).any(axis=(1, 2))[:, None] if self.lags else True
            for row, (error, counted) in enumerate(zip(errors, (present, present & whole), strict=True)):
                sums[row] += np.where(counted, error, 0.0).sum(axis=0)
                numbers[row] += counted.sum(axis=0)
        return np.divide(sums, numbers, out=np.full_like(sums, np.nan), where=numbers > 0).T

    def _feeds(self, batch, location: np.ndarray, scale: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
        count = len(batch.entity)
        shape = (count, len(location))
        return {
            "values": batch.values,
            "location": np.broadcast_to(np.where(known, location, 0.0), shape),
            "scale": np.broadcast_to(np.where(known, scale, 1.0), shape),
            "weight": np.broadcast_to(known.astype(np.float32), shape),
            "condition": np.zeros(count, dtype=np.int32),
            "threshold": np.zeros(count, dtype=np.float32),
            "seasonal": batch.seasonal,
            "statistics": np.ones((*shape, len(STATISTICS)), dtype=np.float32),
            "state": np.zeros((count, STATE_SIZE), dtype=np.float32),
        }


def first_direction(z: np.ndarray) -> np.ndarray:
    """First right-singular vector float64 [metric] of ``z`` [t, metric] (0 = missing), its sum not negative."""
    _, vectors = np.linalg.eigh(z.T @ z)
    found = vectors[:, -1]
    return found if found.sum() >= 0 else -found


def residuals(z: np.ndarray, seen: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """``z - u (u.z) / (u.u)`` with u restricted to the metrics ``seen`` [t, metric], as the graph restricts it."""
    u = np.where(seen, direction, 0.0)
    length = np.maximum((u * u).sum(axis=1, keepdims=True), 1e-12)
    return z - u * ((u * z).sum(axis=1, keepdims=True) / length)


def _mean(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    number = seen.sum(axis=0)
    return np.divide((values * seen).sum(axis=0), number, out=np.full(len(number), np.nan), where=number > 0)


def defaults(own: np.ndarray) -> np.ndarray:
    """Statistics [metric, 4] of an unknown entity: medians of ``own`` [entity, metric, 4]; no direction of its own."""
    known = np.isfinite(own).any(axis=0)
    out = np.full(own.shape[1:], ALL_QUIET)
    columns = [np.nanmedian(own[:, m, k]) if known[m, k] else ALL_QUIET for m in range(len(out)) for k in range(4)]
    out[:] = np.reshape(columns, out.shape)
    out[:, 2] = 0.0
    return out


def completed(own: np.ndarray, default: np.ndarray, fleet: Sequence[float] = DEFAULT_FLEET) -> np.ndarray:
    """float32 [..., metric, K]: ``own`` [..., metric, 4] with unknown numbers from ``default``, then the fleet's."""
    filled = np.where(np.isfinite(own), own, default)
    shared = np.broadcast_to(np.array(fleet), (*filled.shape[:-1], len(FLEET_STATISTICS)))
    return np.concatenate([filled, shared], axis=-1).astype(np.float32)
