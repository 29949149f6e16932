"""Finds the period of a kind from its training range: a day, a week, or none (no torch).

A period is used if the mean of earlier periods predicts a metric better than its own level does; the shared network
then sees that mean. Values are asinh of the standardised sample, as the network sees them.
"""

from __future__ import annotations

import numpy as np

from fleetalign.contracts.arrays import Floats
from fleetalign.detectors.views.roles import REFERENCE_PERIODS, half_width
from fleetalign.storage.panel import Panel

CANDIDATES_SECONDS = (86_400, 604_800)
LEAST_STEPS = 12
"""A period of fewer samples has no shape that the recent window does not show already."""
LEAST_GAIN = 0.02
"""Share of the absolute deviation that the reference must explain over the fleet, beyond what a shorter period does."""
MAX_ENTITIES = 64


def find_period(panel: Panel, location: Floats, scale: Floats, clip: float) -> int | None:
    """Return the period in steps; None without one.

    ``location`` and ``scale`` [entity, metric] are in raw units.
    Looks at up to 64 entities spread over the fleet, one in memory at a time.
    """
    periods = [seconds // panel.step_seconds for seconds in CANDIDATES_SECONDS if seconds % panel.step_seconds == 0]
    periods = [period for period in periods if LEAST_STEPS <= period <= panel.values.shape[1] // 2]
    # Averaging over more neighbours is no evidence of a period: all are compared with as few as the shortest has.
    width = half_width(min(periods, default=0))
    best: int | None = None
    explained = 0.0
    for period in periods:
        # A day repeats every week too: a longer period must explain more, since it needs a longer history.
        gain = _gain(panel, location, scale, clip, period, width)
        if gain >= explained + LEAST_GAIN:
            best, explained = period, gain
    return best


def _gain(panel: Panel, location: Floats, scale: Floats, clip: float, period: int, width: int) -> float:
    """Return 1 - sum |c - reference| / sum |c - median| over samples that have a reference."""
    chosen = np.unique(np.linspace(0, len(panel.entity_ids) - 1, MAX_ENTITIES).astype(np.int64))
    unexplained = total = 0.0
    for entity in chosen:
        with np.errstate(invalid="ignore", divide="ignore"):
            z = (np.asarray(panel.values[entity]) - location[entity]) / scale[entity]
        c = np.arcsinh(np.clip(z, -clip, clip))
        expected = reference(c, period, width)
        both = np.isfinite(c) & np.isfinite(expected)
        if both.any():
            level = np.nanmedian(np.where(both, c, np.nan)[:, both.any(axis=0)], axis=0)
            moved, known = c[:, both.any(axis=0)], both[:, both.any(axis=0)]
            unexplained += np.abs(c - expected)[both].sum()
            total += np.abs(moved - level)[known].sum()
    return 1.0 - unexplained / total if total > 0 else -np.inf


def reference(c: Floats, period: int, width: int | None = None) -> Floats:
    """Return the mean of ``c`` [t, metric] over the same time of earlier periods.

    Up to three periods count; NaN where there is none.
    ``width`` samples on each side count too (None: ``half_width`` of the period).
    """
    width = half_width(period) if width is None else width
    known = np.isfinite(c)
    sums = np.concatenate([np.zeros((1, c.shape[1])), np.cumsum(np.where(known, c, 0.0), axis=0)])
    counts = np.concatenate([np.zeros((1, c.shape[1])), np.cumsum(known, axis=0)])
    total, number = np.zeros_like(c), np.zeros_like(c)
    at = np.arange(len(c))
    for back in range(1, REFERENCE_PERIODS + 1):
        first = np.clip(at - back * period - width, 0, len(c))
        stop = np.clip(at - back * period + width + 1, 0, len(c))
        total += sums[stop] - sums[first]
        number += counts[stop] - counts[first]
    mean: Floats = np.divide(total, number, out=np.full_like(c, np.nan), where=number > 0)
    return mean
