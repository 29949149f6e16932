"""Trains ``views`` to forecast the newest sample; AdamW, one cycle.

Inputs are recent samples, earlier periods, or both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fleetalign.config import ModelConfig, TrainingConfig
from fleetalign.contracts.arrays import Floats
from fleetalign.detectors.training import Scratch
from fleetalign.detectors.views.batches import CompressedPanel
from fleetalign.detectors.views.roles import REFERENCE_STEPS
from fleetalign.storage.panel import Panel


class ViewsTraining:
    """Loss of a forecast with one side or none hidden at random."""

    RECENT_ONLY, SEASONAL_ONLY = 0.4, 0.4
    """Shares of training rows that see one side; the rest sees both."""
    BETA = 0.5
    """SmoothL1 is quadratic below this."""
    WARM_UP, FIRST_SHARE, LAST_SHARE = 0.3, 1 / 25, 1e-4
    """One cycle (Smith & Topin 2018): rise over the first 30 % from a 25th of the rate, then fall to nothing."""

    def __init__(
        self, module: nn.Module, model: ModelConfig, settings: TrainingConfig, period_steps: int | None
    ) -> None:
        self.module, self.model, self.settings, self.period_steps = module, model, settings, period_steps

    def batches(self, panel: Panel, location: Floats, scale: Floats, scratch: Scratch) -> CompressedPanel:
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
            batch["reference"] * see_reference if "reference" in batch else known.expand(*target.shape, REFERENCE_STEPS)
        )
        shown = [recent * see_recent, reference, see_recent.expand(rows), see_reference.expand(rows)]
        forecast = self.module(torch.cat(shown, dim=-1))
        errors = F.smooth_l1_loss(forecast, target, reduction="none", beta=self.BETA)
        number = usable.sum()
        return (errors * usable).sum() / number.clamp(min=1), float(number)

    def _draws(self, rows: int, random: np.random.Generator | None) -> Tensor:
        """Return a number in [0, 1) per window that decides what it sees.

        In validation the sides take turns.
        """
        numbers = np.arange(rows) % 2 * self.RECENT_ONLY if random is None else random.random(rows)
        return torch.from_numpy(numbers)

    def optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        return torch.optim.AdamW(
            self.module.parameters(), lr=settings.learning_rate, weight_decay=settings.research.weight_decay, fused=True
        )

    def learning_rate(self, epoch: int, done: float) -> float:
        if done < self.WARM_UP:
            begin, end, share = self.FIRST_SHARE, 1.0, done / self.WARM_UP
        else:
            begin, end, share = 1.0, self.LAST_SHARE, (done - self.WARM_UP) / (1 - self.WARM_UP)
        return self.settings.learning_rate * (end + (begin - end) * (1 + math.cos(math.pi * share)) / 2)
