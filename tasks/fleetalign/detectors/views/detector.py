"""The detector ``views``, the default (docs/method.md).

Its forecasts are shared by every metric, and its components compare them with the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from fleetalign.config.detectors import Defaults
from fleetalign.detectors.detector import Detector, Network
from fleetalign.detectors.search import Options, Span
from fleetalign.detectors.views import roles

if TYPE_CHECKING:
    from fleetalign.config import AlignConfig, ModelConfig, TrainingConfig
    from fleetalign.contracts.arrays import Floats
    from fleetalign.contracts.graph import Graph
    from fleetalign.detectors.grid import Grid
    from fleetalign.detectors.views.margins import ViewsMargins
    from fleetalign.detectors.views.statistics import ViewsFitter
    from fleetalign.detectors.views.training import ViewsTraining
    from fleetalign.storage.panel import Panel


class ViewsDetector(Detector):
    """Weighs its views of a sample; weights and smoothing are one choice for the whole fleet."""

    name = "views"
    score = "sum over views of weight log(1 + smoothed view)"
    defaults = Defaults(window_steps=32, batch_size=256, learning_rate=3e-3, max_windows_per_epoch=25_600)
    searched = {  # noqa: RUF012 - declared by the protocol, never written to
        "learning_rate": Span(5e-4, 1e-2, log=True),
        "blocks": Options((0, 1, 2, 3)),
    }
    seconds_per_sample = 2.3e-6
    outputs = ("score", "margin", "contribution", "next_state")
    internals = ("views", "recent_error", "seasonal_error")
    own_statistics = roles.OWN_STATISTICS
    fleet_statistics = roles.FLEET_STATISTICS
    state_size = roles.STATE_SIZE
    settle_steps = roles.SETTLE_STEPS

    def period(self, panel: Panel, location: Floats, scale: Floats, model: ModelConfig) -> int | None:
        from fleetalign.detectors.views.period import find_period

        return find_period(panel, location, scale, model.clip) if model.views.seasonality else None

    def network(self, model: ModelConfig, period_steps: int | None) -> Network:
        from fleetalign.detectors.views.network import Forecaster, Inputs, SeasonalGraph, ViewsGraph

        lags = roles.seasonal_lags(period_steps)
        inputs = Inputs(model.clip, lags, roles.reference_lags(period_steps) if period_steps else ())
        module = Forecaster(model.window_steps, model.views.blocks)
        published = SeasonalGraph(module, inputs) if lags else ViewsGraph(module, inputs)
        return Network(self, module, published, period_steps, lags)

    def training(self, network: Network, model: ModelConfig, settings: TrainingConfig) -> ViewsTraining:
        from fleetalign.detectors.views.training import ViewsTraining

        return ViewsTraining(network.module, model, settings, network.period_steps)

    def grid(self, align: AlignConfig, window_steps: int) -> Grid:
        from fleetalign.detectors.grid import Grid, make_tails

        candidates = tuple(
            (*weights, smoothing) for smoothing, weights in product(align.grid.smoothings, align.grid.view_weights)
        )
        return Grid(candidates, make_tails(align), shared_candidate=True, fleet_statistics=self.fleet_statistics)

    def margins(self, graph: Graph, lags: Sequence[int], grid: Grid) -> ViewsMargins:
        from fleetalign.detectors.views.margins import ViewsMargins

        return ViewsMargins(graph, lags, grid.candidates)

    def fitter(self, graph: Graph, lags: Sequence[int], clip: float) -> ViewsFitter:
        from fleetalign.detectors.views.statistics import ViewsFitter

        return ViewsFitter(graph, tuple(lags), clip)
