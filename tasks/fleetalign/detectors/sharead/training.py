"""Trains ``sharead``: masked reconstruction with SmoothL1 (ISSRE 2022, eq. 5-6).

The optimizer is Adam, with a rate that falls every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fleetalign.config import ModelConfig, TrainingConfig
from fleetalign.contracts.arrays import Floats
from fleetalign.detectors.sharead.batches import RawWindows
from fleetalign.detectors.training import Scratch
from fleetalign.storage.panel import Panel


class ShareADTraining:
    """Loss over the metrics that are shown.

    A share of them is hidden at random (``model.sharead.drop_metric_share``).
    """

    def __init__(self, module: nn.Module, model: ModelConfig, settings: TrainingConfig) -> None:
        self.module, self.model, self.settings = module, model, settings

    def batches(self, panel: Panel, location: Floats, scale: Floats, scratch: Scratch) -> RawWindows:
        return RawWindows(panel, location, scale, self.model.clip, self.model.window_steps)

    def loss(self, batch: Mapping[str, Tensor], random: np.random.Generator | None) -> tuple[Tensor, float]:
        z, usable = batch["z"], batch["usable"]
        if random is not None:
            draws = torch.from_numpy(random.random(tuple(usable.shape))).to(usable.device)
            shown = usable & (draws >= self.model.sharead.drop_metric_share)
            # A window that would lose every metric keeps them all.
            usable = torch.where(shown.any(dim=1, keepdim=True), shown, usable)
        errors = F.smooth_l1_loss(self.module(z, usable), z, reduction="none", beta=1.0).mean(dim=-1)
        number = usable.sum()
        return (errors * usable).sum() / number.clamp(min=1), float(number)

    def optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.Adam(
            self.module.parameters(), lr=settings.learning_rate, weight_decay=settings.research.weight_decay, fused=True
        )

    def learning_rate(self, epoch: int, done: float) -> float:
        return self.settings.learning_rate * self.model.sharead.learning_rate_decay**epoch
