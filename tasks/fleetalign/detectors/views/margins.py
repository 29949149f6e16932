"""Margins of ``views`` for every candidate, from one pass of the graph per window.

Shapes: n scored steps, R candidate, V views.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from fleetalign.contracts.arrays import Floats, Floats32
from fleetalign.contracts.graph import Graph
from fleetalign.contracts.slots import stretch_starts
from fleetalign.detectors.margins import STATE_ROUNDING, EntitySeries, internal
from fleetalign.detectors.views.roles import SETTLE_STEPS, VIEWS


class ViewsMargins:
    """Weighs and smooths the graph's views itself, once for each candidate."""

    rounding = STATE_ROUNDING

    def __init__(self, graph: Graph, lags: Sequence[int], candidates: tuple[tuple[float, ...], ...]) -> None:
        self.graph = graph
        self.lags = tuple(lags)
        self.candidates = candidates
        self.context_steps = max(2 * graph.window_steps - 2, *self.lags, 0) + SETTLE_STEPS

    def margins(self, series: EntitySeries, start: int, stop: int) -> Floats32:
        views = self.views(series, start, stop)
        begin = stop - len(views)
        window = self.graph.window_steps
        starts = stretch_starts(series.values, series.first, window)[begin:stop]
        cuts = [0, *(np.flatnonzero(np.diff(starts)) + 1), len(views)]
        rows = [combined(views[a:b], self.candidates) for a, b in itertools.pairwise(cuts)]
        found = np.concatenate(rows, axis=1)
        found[:, np.arange(begin, stop) - starts + 1 < window] = np.nan
        return found[:, len(views) - max(stop - start, 0) :]

    def views(self, series: EntitySeries, start: int, stop: int) -> Floats32:
        """Return the views before smoothing [n, V].

        They begin with the steps before ``start`` that still matter, and end at ``stop``. Windows that are not full yet
        have views too: they warm the running means.
        """
        return internal(self.graph, "views", len(VIEWS), series, self.lags, max(start - SETTLE_STEPS, 0), stop)


def combined(views: Floats32, candidates: Sequence[tuple[float, ...]]) -> Floats32:
    """Return the scores [R, n] of ``views`` [n, V] under each candidate.

    A candidate has the weight of every view, then the smoothing.
    """
    out = np.full((len(candidates), len(views)), np.nan, dtype=np.float32)
    scorable = np.isfinite(views[:, 0])
    finite = views[scorable].astype(np.float64)
    logs = {a: np.log1p(smooth(finite, a)) for a in {candidate[-1] for candidate in candidates}}
    for row, (*weights, smoothing) in zip(out, candidates, strict=True):
        row[scorable] = logs[smoothing] @ np.array(weights)
    return out


def smooth(views: Floats, smoothing: float, block: int = 128) -> Floats:
    """Return the exponentially weighted mean of ``views`` [n, V] along time.

    ``views.network.smooth`` computes the same.
    """
    if smoothing >= 1 or len(views) == 0:
        return views
    decay = 1.0 - smoothing
    padded = np.concatenate([views, np.ones((len(views), 1))], axis=1) * smoothing
    back = np.arange(block)
    triangle = decays(decay, block)
    sums = np.empty_like(padded)
    before = np.zeros(padded.shape[1])
    for at in range(0, len(padded), block):
        part = padded[at : at + block]
        size = len(part)
        sums[at : at + size] = triangle[:size, :size] @ part + decay ** (back[:size, None] + 1) * before
        before = sums[at + size - 1]
    return sums[:, :-1] / sums[:, -1:]


@functools.cache
def decays(decay: float, block: int) -> Floats:
    """Return a lower triangular matrix [block, block] of powers of ``decay``.

    The exponent is the number of samples back.
    """
    back = np.arange(block)
    return np.where(back[:, None] >= back, decay ** np.maximum(back[:, None] - back, 0), 0.0)
