"""What alignment chooses among, as margins of one entity: the exported graph at every candidate setting.

``sharead``: the candidates are conditions C, one per entity. ``views``: they are view weights and a smoothing, one choice
for the whole fleet. Everything comes from the published graph's own values (contracts 3.5). No torch.

Shapes: t grid steps, n scored steps, M metric, R candidates, V views, L lags, K statistics.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fleetalign.contracts.graph import Graph, margins
from fleetalign.detectors.grid import Grid
from fleetalign.detectors.views.roles import SETTLE_STEPS, STATE_SIZE, VIEWS

BATCH = 512


@dataclass(frozen=True, slots=True)
class EntitySeries:
    """One entity's telemetry: ``values`` float64 [t, M] raw units, NaN = missing; ``weight`` float32 [t, M], 0 = muted;
    ``first`` the position of its first row; ``location``, ``scale`` float64 [M], NaN = unknown; ``statistics`` float32
    [M, K] in the graph's order."""

    values: np.ndarray
    weight: np.ndarray
    first: int
    location: np.ndarray
    scale: np.ndarray
    statistics: np.ndarray


class Signal(Protocol):
    """A kind's graph with its candidates."""

    graph: Graph
    rounding: float
    """Relative difference by which a consumer's margins may differ from these."""
    context_steps: int
    """How many steps before the first scored one are needed."""

    def margins(self, series: EntitySeries, start: int, stop: int) -> np.ndarray:
        """Margins at threshold 0, float32 [R, stop - start]; NaN where there is no full window or no usable metric."""


def create(card: Mapping[str, Any], model: bytes, grid: Grid) -> Signal:
    """The signal of ``model`` (its internal values exposed), described by ``card``, at the candidates of ``grid``."""
    graph = Graph(model)
    if card["condition_used"]:
        return ConditionSignal(graph, grid.candidates)
    return ViewsSignal(graph, tuple(card["seasonal_lags_steps"]), grid.candidates)


class ConditionSignal:
    rounding = 0.0

    def __init__(self, graph: Graph, candidates: tuple[int, ...]) -> None:
        self.graph = graph
        self.candidates = candidates
        self.context_steps = graph.window_steps - 1

    def margins(self, series: EntitySeries, start: int, stop: int) -> np.ndarray:
        profile = self.profile(series, start, stop)
        return np.stack([margins(profile, c) for c in self.candidates])

    def profile(self, series: EntitySeries, start: int, stop: int) -> np.ndarray:
        """E float32 [stop - start, W]; NaN rows where there is no full window or no usable metric."""
        return internal(self.graph, "profile", self.graph.window_steps, series, (), start, stop)


class ViewsSignal:
    rounding = 2e-6

    def __init__(self, graph: Graph, lags: tuple[int, ...], candidates: tuple[tuple[float, ...], ...]) -> None:
        self.graph = graph
        self.lags = lags
        self.candidates = candidates
        self.context_steps = max(graph.window_steps - 1, max(lags, default=0)) + SETTLE_STEPS

    def margins(self, series: EntitySeries, start: int, stop: int) -> np.ndarray:
        views = self.views(series, start, stop)
        spare = len(views) - max(stop - start, 0)
        return np.stack([row[spare:] for row in combined(views, self.candidates)])

    def views(self, series: EntitySeries, start: int, stop: int) -> np.ndarray:
        """Views before smoothing float32 [n, V] of the steps before ``start`` that still matter and up to ``stop``."""
        begin = max(start - SETTLE_STEPS, 0)
        return internal(self.graph, "views", len(VIEWS), series, self.lags, begin, stop)


def combined(views: np.ndarray, candidates: Sequence[tuple[float, ...]]) -> np.ndarray:
    """Scores float32 [R, n] of ``views`` [n, V] under each (weight of every view, smoothing), as the graph computes them."""
    out = np.full((len(candidates), len(views)), np.nan, dtype=np.float32)
    speaks = np.isfinite(views[:, 0])
    heard = views[speaks].astype(np.float64)
    logs = {a: np.log1p(smooth(heard, a)) for a in {candidate[-1] for candidate in candidates}}
    for row, (*weights, smoothing) in zip(out, candidates, strict=True):
        row[speaks] = logs[smoothing] @ np.array(weights)
    return out


def smooth(views: np.ndarray, smoothing: float, block: int = 128) -> np.ndarray:
    """Exponentially weighted mean of ``views`` [n, V] along time; the first sample counts fully (model.views.smooth)."""
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
def decays(decay: float, block: int) -> np.ndarray:
    """Lower triangular float64 [block, block]: ``decay`` to the power of how many samples back."""
    back = np.arange(block)
    return np.where(back[:, None] >= back, decay ** np.maximum(back[:, None] - back, 0), 0.0)


def internal(
    graph: Graph, name: str, width: int, series: EntitySeries, lags: tuple[int, ...], start: int, stop: int
) -> np.ndarray:
    """The graph's internal value ``name`` float32 [stop - start, width] for the windows that end at each step."""
    window = graph.window_steps
    known = np.isfinite(series.location) & np.isfinite(series.scale)
    location, scale = np.where(known, series.location, 0.0), np.where(known, series.scale, 1.0)
    found = np.full((max(stop - start, 0), width), np.nan, dtype=np.float32)
    begin = max(start, series.first + window - 1)
    if begin >= stop:
        return found
    windows = np.lib.stride_tricks.sliding_window_view(series.values, window, axis=0)
    steps = np.array(lags, dtype=np.int64)
    for at in range(begin, stop, BATCH):
        ends = np.arange(at, min(at + BATCH, stop))
        shape = (len(ends), len(location))
        earlier = ends[:, None] - steps
        seasonal = series.values[np.maximum(earlier, 0)]
        seasonal[earlier < 0] = np.nan
        feeds = {
            "values": windows[ends - window + 1],
            "location": np.broadcast_to(location, shape),
            "scale": np.broadcast_to(scale, shape),
            "weight": series.weight[ends] * known,
            "condition": np.full(len(ends), 2, dtype=np.int32),
            "threshold": np.zeros(len(ends), dtype=np.float32),
            "seasonal": seasonal.transpose(0, 2, 1),
            "statistics": np.broadcast_to(series.statistics, (*shape, series.statistics.shape[-1])),
            "state": np.zeros((len(ends), STATE_SIZE), dtype=np.float32),
        }
        found[ends - start] = graph.values((name,), feeds)[0]
    return found
