"""Baselines of the benchmark: detectors without weights.

They are exported and aligned like any other.
They are not registered, so no align worker imports torch with them. The third baseline, near-linear, is ``views`` with
``model.views.blocks`` 0. Shapes: B batch, M metric, W window_steps, K statistics columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fleetalign.config import ModelConfig
from fleetalign.config.detectors import Defaults
from fleetalign.contracts.arrays import Floats
from fleetalign.contracts.graph import Graph
from fleetalign.detectors.detector import Detector, Network
from fleetalign.detectors.layers import shares, standardise
from fleetalign.detectors.views.network import SMALLEST, smooth
from fleetalign.detectors.views.roles import SETTLE_STEPS
from fleetalign.detectors.views.statistics import first_direction, standardised
from fleetalign.storage.panel import Panel

SHORTEST_WINDOW = 8
"""Steps: the least that ``model.window_steps`` takes; the baselines read the newest sample alone."""
SMOOTHING = 0.3
"""Share of the newest sample in the running mean of ``RankOne``, as ``views`` smooths before any feedback exists."""


class MeanZ(Detector):
    """Mean size of the newest standardised sample."""

    name = "mean_z"
    score = "mean over usable metrics of |z|"
    defaults = Defaults(window_steps=SHORTEST_WINDOW)

    def network(self, model: ModelConfig, period_steps: int | None) -> Network:
        graph = _MeanZGraph(model.clip)
        return Network(self, graph, graph)


class RankOne(Detector):
    """Mean squared residual of a rank-one model of each entity, smoothed over time."""

    name = "rank_one"
    score = "exponentially weighted mean of (mean over usable metrics of r^2), r = z - u (u.z) / (u.u)"
    defaults = Defaults(window_steps=SHORTEST_WINDOW)
    outputs = ("score", "margin", "contribution", "next_state")
    own_statistics = ("direction",)
    state_size = 2
    settle_steps = SETTLE_STEPS

    def network(self, model: ModelConfig, period_steps: int | None) -> Network:
        graph = _RankOneGraph(model.clip)
        return Network(self, graph, graph)

    def fitter(self, graph: Graph, lags: Sequence[int], clip: float) -> _Direction:
        return _Direction(clip)


class _MeanZGraph(nn.Module):
    def __init__(self, clip: float) -> None:
        super().__init__()
        self.clip = clip

    def forward(
        self, values: Tensor, location: Tensor, scale: Tensor, weight: Tensor, condition: Tensor, threshold: Tensor
    ) -> tuple[Tensor, ...]:
        z, present = standardise(values, location, scale, self.clip)
        usable = (weight > 0) & present[..., -1]
        mean, parts, scorable = _weighted_mean(z[..., -1].abs(), weight, usable)
        score = torch.where(scorable, mean, math.nan).squeeze(-1)
        return score, score - threshold, shares(parts, usable)


class _RankOneGraph(nn.Module):
    def __init__(self, clip: float) -> None:
        super().__init__()
        self.clip = clip

    def forward(
        self,
        values: Tensor,
        location: Tensor,
        scale: Tensor,
        weight: Tensor,
        condition: Tensor,
        threshold: Tensor,
        statistics: Tensor,
        state: Tensor,
    ) -> tuple[Tensor, ...]:
        z, present = standardise(values, location, scale, self.clip)
        usable = (weight > 0) & present[..., -1]
        newest, direction = z[..., -1], torch.where(usable, statistics[..., 0], 0.0)
        along = (direction * newest).sum(dim=-1, keepdim=True)
        length = direction.square().sum(dim=-1, keepdim=True).clamp(min=SMALLEST)
        mean, parts, scorable = _weighted_mean((newest - direction * along / length).square(), weight, usable)
        smoothed, next_state = smooth(mean, torch.full_like(mean, SMOOTHING), scorable, state)
        score = torch.where(scorable, smoothed, math.nan).squeeze(-1)
        return score, score - threshold, shares(parts, usable), next_state


def _weighted_mean(errors: Tensor, weight: Tensor, usable: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean [B, 1] of ``errors`` [B, M] over usable metrics.

    Also its parts [B, M], and whether there are usable metrics [B, 1].
    """
    weights = torch.where(usable, weight, 0.0)
    parts, total = weights * errors, weights.sum(dim=-1, keepdim=True)
    return parts.sum(dim=-1, keepdim=True) / torch.where(total > 0, total, 1.0), parts, total > 0


@dataclass(frozen=True, slots=True)
class _Direction:
    """Fits u, the first right-singular vector of an entity's standardised history."""

    clip: float
    fleet: tuple[float, ...] = ()

    def fit(self, panel: Panel, entity: int, start: int, stop: int, location: Floats, scale: Floats) -> Floats:
        """Return [M, 1] over grid steps ``[start, stop)``; NaN for a metric without a sample."""
        z = standardised(np.asarray(panel.values[entity, start:stop]), location, scale, self.clip)
        seen = np.isfinite(z)
        return np.where(seen.any(axis=0), first_direction(np.where(seen, z, 0.0)), np.nan)[:, None]

    def defaults(self, own: Floats) -> Floats:
        """Return no direction: every move of an unknown entity is a residual."""
        return np.zeros(own.shape[1:])
