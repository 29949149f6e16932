"""Margins of one entity under every candidate setting.

Alignment chooses from these numbers.
They come from the published graph in onnxruntime, so thresholds are fitted on what consumers compute (contracts 3.5).
No torch.

Shapes: B batch, t grid steps, n scored steps, M metric, R candidate, L lags, K statistics columns, S state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fleetalign.contracts.arrays import Bools, Floats, Floats32, Ints
from fleetalign.contracts.graph import Graph, windows_at_once
from fleetalign.contracts.slots import stretch_starts
from fleetalign.detectors.grid import Grid

BATCH = 512
STATE_ROUNDING = 2e-6
"""Relative difference that a state may make: the sums of a chain of samples depend on how it is cut into batches."""

Feeds = dict[str, np.ndarray[Any, Any]]
"""Role of the graph -> array."""


@dataclass(frozen=True, slots=True)
class EntitySeries:
    """One entity's telemetry with the numbers that the graph reads beside it."""

    values: Floats
    """[t, M] in raw units, NaN = missing."""
    weight: Floats32
    """[t, M], 0 = muted."""
    first: int
    """Grid step of its first row."""
    location: Floats
    """[M] in raw units, NaN = unknown."""
    scale: Floats
    """[M] in raw units, NaN = unknown."""
    statistics: Floats32
    """[M, K] in the graph's order."""


class Margins(Protocol):
    """The graph of a kind with the candidates of its grid."""

    graph: Graph
    candidates: tuple[Any, ...]
    rounding: float
    """Relative difference by which a consumer's margins may differ from these."""
    context_steps: int
    """Grid steps before the first scored one that are read."""

    def margins(self, series: EntitySeries, start: int, stop: int) -> Floats32:
        """Return the margins at threshold 0 of grid steps ``[start, stop)``: [R, stop - start].

        NaN where there is no full window or no usable metric.
        """
        ...


class GraphMargins:
    """Runs the graph once per candidate.

    Condition and fleet statistics are set, and the state is carried on.
    """

    def __init__(self, graph: Graph, lags: Sequence[int], grid: Grid, settle_steps: int | None) -> None:
        self.graph, self.lags, self.grid = graph, tuple(lags), grid
        self.candidates = grid.candidates
        self.settle_steps = settle_steps or 0
        self.rounding = STATE_ROUNDING if settle_steps else 0.0
        self.context_steps = max(2 * graph.window_steps - 2, *self.lags, 0) + self.settle_steps

    def margins(self, series: EntitySeries, start: int, stop: int) -> Floats32:
        """Return margins at threshold 0 [R, stop - start], as ``Margins`` describes them."""
        found = np.full((len(self.candidates), max(stop - start, 0)), np.nan, dtype=np.float32)
        states = np.zeros((len(self.candidates), 1, self.graph.sizes.get("state", 0)), dtype=np.float32)
        begin = max(start - self.settle_steps, 0)
        for ends, full, fresh, feeds in feeds_of(self.graph, series, self.lags, begin, stop):
            wanted = (ends >= start) & full
            for row, state, condition, candidate in zip(
                found, states, self.grid.conditions, self.candidates, strict=True
            ):
                feeds["condition"][:] = condition
                if self.grid.fleet_statistics:
                    feeds["statistics"][..., -len(candidate) :] = candidate
                feeds["state"][:1], feeds["state"][1:] = state, np.nan
                feeds["state"][fresh] = 0.0
                scored = self.graph.run(feeds)
                row[ends[wanted] - start] = scored.margin[wanted]
                if scored.state is not None:
                    state[:] = scored.state[-1:]
        return found


def internal(
    graph: Graph, name: str, width: int, series: EntitySeries, lags: Sequence[int], start: int, stop: int
) -> Floats32:
    """Return the graph's internal value ``name`` [stop - start, width].

    There is one row for the window that ends at each step, NaN where the graph sees none (``feeds_of``).
    """
    found = np.full((max(stop - start, 0), width), np.nan, dtype=np.float32)
    for ends, _, _, feeds in feeds_of(graph, series, lags, start, stop):
        found[ends - start] = graph.values((name,), feeds)[0]
    return found


def profile(graph: Graph, series: EntitySeries, start: int, stop: int) -> Floats32:
    """Return E [stop - start, W], the error at each window position.

    It is averaged over usable metrics.
    NaN rows where there is no full window or no usable metric.
    """
    return internal(graph, "profile", graph.window_steps, series, (), start, stop)


def feeds_of(
    graph: Graph, series: EntitySeries, lags: Sequence[int], start: int, stop: int
) -> Iterator[tuple[Ints, Bools, Bools, Feeds]]:
    """Yield the windows that end in ``[start, stop)`` and that a scorer feeds to the graph.

    They are the full ones, and for a graph with a state also those of a stretch's first ``window - 1`` steps, which warm
    the state. Each item is (their last grid steps [B], whether the window is full [B], whether its stretch begins there
    [B], what the graph is fed).
    """
    window = graph.window_steps
    known = np.isfinite(series.location) & np.isfinite(series.scale)
    location, scale = np.where(known, series.location, 0.0), np.where(known, series.scale, 1.0)
    starts = stretch_starts(series.values, series.first, window)
    steps = np.arange(max(start, series.first, 0), stop)
    age = steps - starts[steps] + 1
    if "state" not in graph.inputs:
        steps = steps[age >= window]
    if not len(steps):
        return
    padded = np.concatenate([np.full((window - 1, series.values.shape[1]), np.nan), series.values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)
    batch = windows_at_once(BATCH, series.values.shape[1])
    for at in range(0, len(steps), batch):
        ends = steps[at : at + batch]
        age = ends - starts[ends] + 1
        earlier = ends[:, None] - np.array(lags, dtype=np.int64)
        seasonal = series.values[np.maximum(earlier, 0)]
        seasonal[earlier < 0] = np.nan
        yield (
            ends,
            age >= window,
            age == 1,
            feeds(
                graph,
                windows[ends],
                location,
                scale,
                series.weight[ends] * known,
                seasonal.transpose(0, 2, 1),
                series.statistics,
            ),
        )


def feeds(
    graph: Graph,
    values: Floats,
    location: Floats,
    scale: Floats,
    weight: np.ndarray[Any, Any],
    seasonal: Floats,
    statistics: Floats32,
) -> Feeds:
    """Return every role for windows ``values`` [B, M, W] of one entity.

    The threshold is 0, and there is no state.
    ``location``, ``scale`` [M], ``weight`` [M] or [B, M], ``seasonal`` [B, M, L], ``statistics`` [M, K].
    """
    count = len(values)
    shape = (count, len(location))
    return {
        "values": values,
        "location": np.broadcast_to(location, shape),
        "scale": np.broadcast_to(scale, shape),
        "weight": np.broadcast_to(weight, shape),
        "condition": np.zeros(count, dtype=np.int32),
        "threshold": np.zeros(count, dtype=np.float32),
        "seasonal": seasonal,
        "statistics": np.array(np.broadcast_to(statistics, (*shape, statistics.shape[-1])), dtype=np.float32),
        "state": np.zeros((count, graph.sizes.get("state", 0)), dtype=np.float32),
    }
