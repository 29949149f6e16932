"""The detector ``sharead``: the published one (He, Chen, Zheng, ACM TOSEM 34, 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleetalign.config.detectors import Defaults
from fleetalign.detectors.detector import Detector, Network
from fleetalign.detectors.search import Options, Span

if TYPE_CHECKING:
    from fleetalign.config import AlignConfig, ModelConfig, TrainingConfig
    from fleetalign.contracts.graph import Graph
    from fleetalign.detectors.grid import Grid
    from fleetalign.detectors.sharead.margins import ConditionMargins
    from fleetalign.detectors.sharead.training import ShareADTraining


class ShareADDetector(Detector):
    """Reconstructs a window and compares the newest error with earlier ones.

    The earlier errors are those of the C - 1 samples before the newest.
    """

    name = "sharead"
    score = "E[W-1]: squared error of the newest sample, averaged over usable metrics"
    margin = "score - max(E[W-C] .. E[W-2]) - threshold"
    defaults = Defaults(window_steps=100, batch_size=128, learning_rate=1e-3, max_windows_per_epoch=40_000)
    searched = {  # noqa: RUF012 - declared by the protocol, never written to
        "learning_rate": Span(1e-4, 5e-3, log=True),
        "latent_size": Options((3, 8, 16)),
        "dropout": Span(0.0, 0.4),
        "drop_metric_share": Span(0.0, 0.3),
    }
    seconds_per_sample = 6.2e-6
    internals = ("profile",)
    condition_used = True

    def network(self, model: ModelConfig, period_steps: int | None) -> Network:
        from fleetalign.detectors.sharead.network import ShareAD, ShareADGraph

        module = ShareAD(model.window_steps, model.sharead.latent_size, model.sharead.dropout)
        return Network(self, module, ShareADGraph(module, model.window_steps, model.clip))

    def training(self, network: Network, model: ModelConfig, settings: TrainingConfig) -> ShareADTraining:
        from fleetalign.detectors.sharead.training import ShareADTraining

        return ShareADTraining(network.module, model, settings)

    def grid(self, align: AlignConfig, window_steps: int) -> Grid:
        from fleetalign.detectors.grid import condition_grid

        return condition_grid(align, window_steps)

    def margins(self, graph: Graph, lags: Sequence[int], grid: Grid) -> ConditionMargins:
        from fleetalign.detectors.sharead.margins import ConditionMargins

        return ConditionMargins(graph, grid)
