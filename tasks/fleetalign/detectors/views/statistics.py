"""Statistics of the ``views`` graph per entity and metric.

They are typical values, fitted with the exported graph.
Pre-training fits them for the fleet, align workers for entities that came later. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.arrays import Bools, Floats, Ints
from fleetalign.contracts.graph import Graph, windows_at_once
from fleetalign.detectors.margins import feeds
from fleetalign.detectors.views.roles import OWN_STATISTICS, STATISTICS
from fleetalign.storage.panel import Panel
from fleetalign.storage.windows import WindowIndex

MAX_WINDOWS = 1_000
"""Windows per entity that typical errors are averaged over, evenly spread: their means are known to a few per cent."""
BATCH = 250
DEFAULT_FLEET = (1.0, 1.0, 0.5, 0.5, 0.3)
"""Weights of the views and smoothing before any feedback exists: the two residual views count as one."""
ALL_QUIET = 1.0
"""Statistic of a metric that no entity has measured."""


@dataclass(frozen=True, slots=True)
class ViewsFitter:
    """Fits one kind's statistics."""

    graph: Graph
    """Exposes its internal values."""
    lags: tuple[int, ...]
    """Seasonal lags in steps."""
    clip: float
    """Standardised values are clipped to plus or minus this."""
    fleet: tuple[float, ...] = DEFAULT_FLEET

    def fit(self, panel: Panel, entity: int, start: int, stop: int, location: Floats, scale: Floats) -> Floats:
        """Return the statistics [metric, 4] over grid steps ``[start, stop)``.

        Their order is that of OWN_STATISTICS; NaN where unknown.
        """
        out = np.full((len(panel.metrics), len(OWN_STATISTICS)), np.nan)
        z = standardised(np.asarray(panel.values[entity, start:stop]), location, scale, self.clip)
        seen = np.isfinite(z)
        if not seen.any():
            return out
        direction = first_direction(np.where(seen, z, 0.0))
        residual = residuals(np.where(seen, z, 0.0), seen, direction)
        out[:, 2] = np.where(seen.any(axis=0), direction, np.nan)
        out[:, 3] = _mean(np.abs(residual), seen)
        out[:, :2] = self._errors(panel, entity, start, stop, location, scale)
        return out

    def _errors(self, panel: Panel, entity: int, start: int, stop: int, location: Floats, scale: Floats) -> Floats:
        """Return the mean forecast errors [metric, 2]: recent, then seasonal."""
        one = Panel(
            panel.kind, (panel.entity_ids[entity],), panel.metrics, panel.start, panel.step_seconds,
            panel.values[entity : entity + 1], panel.first[entity : entity + 1], panel.last[entity : entity + 1],
        )  # fmt: skip
        windows = WindowIndex(one, start, stop, self.graph.window_steps, self.lags)
        count = len(windows)
        sums, numbers = np.zeros((2, len(location))), np.zeros((2, len(location)))
        known = np.isfinite(location) & (scale > 0)
        location, scale = np.where(known, location, 0.0), np.where(known, scale, 1.0)
        statistics = np.ones((len(location), len(STATISTICS)), dtype=np.float32)
        chosen: Ints = np.unique(np.linspace(0, max(count - 1, 0), min(count, MAX_WINDOWS)).astype(np.int64))
        for batch in windows.batches(chosen, windows_at_once(BATCH, len(location))):
            if not len(batch.entity):
                continue
            present = np.isfinite(batch.values[..., -1]) & known
            errors = self.graph.values(
                ("recent_error", "seasonal_error"),
                feeds(self.graph, batch.values, location, scale, known, batch.seasonal, statistics),
            )
            # The typical seasonal error is that of samples with a whole reference; without any, of all.
            whole = np.isfinite(batch.seasonal).any(axis=(1, 2))[:, None] if self.lags else True
            for row, (error, counted) in enumerate(zip(errors, (present, present & whole), strict=True)):
                sums[row] += np.where(counted, error, 0.0).sum(axis=0)
                numbers[row] += counted.sum(axis=0)
        means: Floats = np.divide(sums, numbers, out=np.full_like(sums, np.nan), where=numbers > 0)
        return means.T

    def defaults(self, own: Floats) -> Floats:
        """Return the medians over entities.

        A metric without any counts as quiet, and no direction is assumed.
        """
        known = np.isfinite(own).any(axis=0)
        out = np.full(own.shape[1:], ALL_QUIET)
        for m, k in np.argwhere(known):
            out[m, k] = np.nanmedian(own[:, m, k])
        out[:, OWN_STATISTICS.index("direction")] = 0.0
        return out


def standardised(values: Floats, location: Floats, scale: Floats, clip: float) -> Floats:
    """Return ``values`` [t, metric] in units of ``scale`` around ``location``, clipped.

    NaN where a value, ``scale`` or ``location`` [metric] is unknown.
    """
    known = np.isfinite(location) & (scale > 0)
    z = (values - np.where(known, location, 0)) / np.where(known, scale, 1)
    return np.clip(np.where(known & np.isfinite(z), z, np.nan), -clip, clip)


def first_direction(z: Floats) -> Floats:
    """Return the first right-singular vector [metric] of ``z`` [t, metric].

    0 in ``z`` is missing; the sum of the vector is not negative.
    """
    _, vectors = np.linalg.eigh(z.T @ z)
    found: Floats = vectors[:, -1]
    return found if found.sum() >= 0 else -found


def residuals(z: Floats, seen: Bools, direction: Floats) -> Floats:
    """Return ``z - u (u.z) / (u.u)`` with u restricted to the metrics ``seen``.

    The graph restricts ``seen`` [t, metric] in the same way.
    """
    u = np.where(seen, direction, 0.0)
    length = np.maximum((u * u).sum(axis=1, keepdims=True), 1e-12)
    left: Floats = z - u * ((u * z).sum(axis=1, keepdims=True) / length)
    return left


def _mean(values: Floats, seen: Bools) -> Floats:
    """Return the mean over time [metric] of ``values`` [t, metric] where ``seen``.

    NaN where a metric is never seen.
    """
    number = seen.sum(axis=0)
    mean: Floats = np.divide((values * seen).sum(axis=0), number, out=np.full(len(number), np.nan), where=number > 0)
    return mean
