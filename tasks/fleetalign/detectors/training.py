"""How one network is trained: what a detector's ``training`` returns.

Shapes: B batch, E entity, M metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.storage.panel import Panel

Scratch = tuple[int, str | None]
"""Megabytes that one array may take in memory, and the folder where larger ones are memory-mapped."""


class Batches(Protocol):
    """Gathers what one training step sees."""

    def gather(self, entity: Ints, end: Ints) -> dict[str, Tensor]:
        """Return the training inputs of windows.

        They are those of ``entity`` [B] whose newest samples are at ``end`` [B].
        """
        ...


class Training(Protocol):
    """Loss, optimizer and learning rate of one network."""

    def batches(self, panel: Panel, location: Floats, scale: Floats, scratch: Scratch) -> Batches:
        """Return what gathers training inputs; ``location``, ``scale`` [E, M] in raw units."""
        ...

    def loss(self, batch: Mapping[str, Tensor], random: np.random.Generator | None) -> tuple[Tensor, float]:
        """Return the mean loss of a gathered batch and its number of terms.

        Without ``random`` nothing is drawn.
        """
        ...

    def optimizer(self) -> torch.optim.Optimizer:
        """Return a new optimizer over the network's weights."""
        ...

    def learning_rate(self, epoch: int, done: float) -> float:
        """Return the learning rate in ``epoch`` (from 0).

        ``done`` is the share of all steps of all epochs that is done.
        """
        ...
