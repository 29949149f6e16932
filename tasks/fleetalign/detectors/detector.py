"""The two networks behind one interface: what training, export and the model card need to know of each.

``sharead`` is the published network (He et al., TOSEM 2025), ``views`` the default. A network takes raw roles
(contracts 3.1) as tensors, hides what its training hides, and gives a loss; its detector is the published graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fleetalign.config import ModelConfig, TrainingConfig
from fleetalign.detectors.sharead.network import Detector, ShareAD
from fleetalign.detectors.views import roles as contract
from fleetalign.detectors.views.batches import CompressedPanel, RawWindows
from fleetalign.detectors.views.network import Forecaster, Inputs, SeasonalDetector, ViewsDetector
from fleetalign.storage.panel import Panel

Scratch = tuple[int, str | None]
"""Megabytes that one array may take in memory, and where larger ones are memory-mapped."""


class Network(Protocol):
    """One shared network of a kind: the trainable module and what surrounds it."""

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    internals: tuple[str, ...]
    statistics: tuple[str, ...]
    lags: tuple[int, ...]
    condition_used: bool
    score: str
    margin: str

    def batches(
        self, panel: Panel, location: np.ndarray, scale: np.ndarray, scratch: Scratch
    ) -> RawWindows | CompressedPanel:
        """What gathers the training inputs of windows."""

    def loss(self, batch: Mapping[str, Tensor], random: np.random.Generator | None) -> tuple[Tensor, float]:
        """Mean loss of what ``batches`` gathered, and its weight (number of terms); ``random`` None: nothing drawn."""

    def optimizer(self) -> torch.optim.Optimizer: ...

    def learning_rate(self, epoch: int, done: float) -> float:
        """Rate in ``epoch`` when a share ``done`` of all its batches over all epochs is done."""

    def detector(self) -> nn.Module:
        """The module to export: roles in the order of ``inputs`` to ``outputs`` and ``internals``."""


def create(model: ModelConfig, training: TrainingConfig, period_steps: int | None = None) -> Network:
    """A network with fresh weights, drawn from torch's generator."""
    if model.network == "sharead":
        return ShareADNetwork(model, training)
    return ViewsNetwork(model, training, period_steps)


class ShareADNetwork:
    """Masked reconstruction with SmoothL1 (ISSRE 2022, eq. 5-6), Adam, halved every epoch."""

    inputs = ("values", "location", "scale", "weight", "condition", "threshold")
    outputs = ("score", "margin", "contribution")
    internals = ("profile",)
    statistics: tuple[str, ...] = ()
    lags: tuple[int, ...] = ()
    condition_used = True
    score = "E[W-1]: squared error of the newest sample, averaged over usable metrics"
    margin = "score - max(E[W-C] .. E[W-2]) - threshold"

    def __init__(self, model: ModelConfig, training: TrainingConfig) -> None:
        self.model, self.training = model, training
        self.module = ShareAD(model.window_steps, model.latent_size, model.dropout)

    def batches(self, panel: Panel, location: np.ndarray, scale: np.ndarray, scratch: Scratch) -> RawWindows:
        return RawWindows(panel, location, scale, self.model.clip, self.model.window_steps)

    def loss(self, batch: Mapping[str, Tensor], random: np.random.Generator | None) -> tuple[Tensor, float]:
        z, usable = batch["z"], batch["usable"]
        if random is not None:
            draws = torch.from_numpy(random.random(tuple(usable.shape))).to(usable.device)
            shown = usable & (draws >= self.training.drop_metric_share)
            # A window that would lose every metric keeps them all.
            usable = torch.where(shown.any(dim=1, keepdim=True), shown, usable)
        errors = F.smooth_l1_loss(self.module(z, usable), z, reduction="none", beta=1.0).mean(dim=-1)
        number = usable.sum()
        return (errors * usable).sum() / number.clamp(min=1), float(number)

    def optimizer(self) -> torch.optim.Optimizer:
        training = self.training
        return torch.optim.Adam(
            self.module.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )

    def learning_rate(self, epoch: int, done: float) -> float:
        return self.training.learning_rate * self.training.learning_rate_decay**epoch

    def detector(self) -> nn.Module:
        return Detector(self.module, self.model.window_steps, self.model.clip)


class ViewsNetwork:
    """Forecasts of the newest sample from what is shown of recent samples and earlier periods; AdamW, one cycle."""

    internals = ("views", "recent_error", "seasonal_error")
    outputs = ("score", "margin", "contribution", "next_state")
    statistics = contract.STATISTICS
    condition_used = False
    score = "sum over views of weight log(1 + smoothed view)"
    margin = "score - threshold"
    RECENT_ONLY, SEASONAL_ONLY = 0.4, 0.4
    """Shares of training rows that see one side; the rest sees both."""
    BETA = 0.5
    WARM_UP, FIRST_SHARE, LAST_SHARE = 0.3, 1 / 25, 1e-4
    """One cycle (Smith & Topin 2018): rise over the first 30 % from a 25th of the rate, then fall to nothing."""

    def __init__(self, model: ModelConfig, training: TrainingConfig, period_steps: int | None) -> None:
        self.model, self.training, self.period_steps = model, training, period_steps
        self.lags = contract.seasonal_lags(period_steps)
        references = contract.reference_lags(period_steps) if period_steps else ()
        self.preparation = Inputs(model.clip, self.lags, references)
        self.module = Forecaster(model.window_steps, model.blocks)
        seasonal = ("seasonal",) if self.lags else ()
        self.inputs = (*ShareADNetwork.inputs, *seasonal, "statistics", "state")

    def batches(self, panel: Panel, location: np.ndarray, scale: np.ndarray, scratch: Scratch) -> CompressedPanel:
        model = self.model
        return CompressedPanel(panel, location, scale, model.clip, model.window_steps, self.period_steps, *scratch)

    def loss(self, batch: Mapping[str, Tensor], random: np.random.Generator | None) -> tuple[Tensor, float]:
        c, usable = batch["c"], batch["usable"]
        target, recent = c[..., -1], c[..., :-1]
        known = batch.get("known")
        if known is None:
            known = torch.zeros_like(target[..., None])
        draws = self._draws(len(target), random).to(target.device)[:, None, None]
        see_recent = ((draws < self.RECENT_ONLY) | (draws >= self.RECENT_ONLY + self.SEASONAL_ONLY)).to(torch.float32)
        see_reference = (draws >= self.RECENT_ONLY).to(torch.float32) * known
        rows = (*target.shape, 1)
        reference = (
            batch["reference"] * see_reference
            if "reference" in batch
            else known.expand(*target.shape, contract.REFERENCE_STEPS)
        )
        shown = [recent * see_recent, reference, see_recent.expand(rows), see_reference.expand(rows)]
        forecast = self.module(torch.cat(shown, dim=-1))
        errors = F.smooth_l1_loss(forecast, target, reduction="none", beta=self.BETA)
        number = usable.sum()
        return (errors * usable).sum() / number.clamp(min=1), float(number)

    def _draws(self, rows: int, random: np.random.Generator | None) -> Tensor:
        """What each window sees; in validation the two sides take turns."""
        numbers = np.arange(rows) % 2 * self.RECENT_ONLY if random is None else random.random(rows)
        return torch.from_numpy(numbers)

    def optimizer(self) -> torch.optim.Optimizer:
        training = self.training
        return torch.optim.AdamW(
            self.module.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )

    def learning_rate(self, epoch: int, done: float) -> float:
        if done < self.WARM_UP:
            begin, end, share = self.FIRST_SHARE, 1.0, done / self.WARM_UP
        else:
            begin, end, share = 1.0, self.LAST_SHARE, (done - self.WARM_UP) / (1 - self.WARM_UP)
        return self.training.learning_rate * (end + (begin - end) * (1 + math.cos(math.pi * share)) / 2)

    def detector(self) -> nn.Module:
        kind = SeasonalDetector if self.lags else ViewsDetector
        return kind(self.module, self.preparation)
