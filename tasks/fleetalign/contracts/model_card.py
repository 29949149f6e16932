"""``card.json``: what a reader of a model should know.

It has no clock, host, path or plan, because it is hashed into the model's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetalign.contracts.document import Document

CARD_VERSION = "1.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch(Document):
    """The losses of one epoch of the training."""

    epoch: int
    train_loss: float
    validation_loss: float | None
    """None: the range is too short for validation windows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSummary(Document):
    """How the training went."""

    curve: tuple[Epoch, ...]
    best_epoch: int
    """The epoch whose weights were kept."""
    weights_chosen_by: str
    """``validation_loss``, or ``train_loss`` without validation windows."""
    training_windows: int
    validation_windows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard(Document):
    """One model: the interface of its graph, its settings and how it was trained."""

    schema_version: str = CARD_VERSION
    network: str
    """Name of the detector, as in ``model.network``."""
    window_steps: int
    inputs: tuple[str, ...]
    """Roles that the graph reads (``contracts.graph.ROLES``)."""
    outputs: tuple[str, ...]
    score: str
    """Formula of the score."""
    margin: str
    """Formula of the margin."""
    condition_used: bool
    """Whether the margin depends on the role ``condition``."""
    period_steps: int | None
    """Length of the seasonal period that the training found."""
    seasonal_lags_steps: tuple[int, ...]
    """Steps before the newest sample that the role ``seasonal`` reads."""
    statistics_columns: tuple[str, ...]
    """Normalizer columns that the role ``statistics`` reads, in the graph's order."""
    state_size: int | None = None
    """Width of the graph's state; None: it keeps none."""
    parameters: int
    """Number of trained weights."""
    config: Mapping[str, Any]
    """The settings ``model`` and ``training`` that decided the weights, as JSON."""
    training: TrainingSummary
