"""Margins of ``sharead`` for every condition C, from one pass of the graph per window."""

from __future__ import annotations

import numpy as np

from fleetalign.contracts.arrays import Floats32
from fleetalign.contracts.graph import Graph, margins
from fleetalign.detectors.grid import Grid
from fleetalign.detectors.margins import EntitySeries, profile


class ConditionMargins:
    """Derives the margin under each condition from the errors E of the window (contracts 3.4)."""

    rounding = 0.0

    def __init__(self, graph: Graph, grid: Grid) -> None:
        self.graph = graph
        self.candidates = grid.candidates
        self.context_steps = 2 * graph.window_steps - 2

    def margins(self, series: EntitySeries, start: int, stop: int) -> Floats32:
        errors = profile(self.graph, series, start, stop)
        return np.stack([margins(errors, c) for c in self.candidates])
