"""Range-based precision and recall (Tatbul, Lee, Zdonik, Alam, Gottschlich, NeurIPS 2018).

Shapes: t time steps, r ranges. ``alarms`` bool [t]; ``labels`` int8 [t]: 1 anomaly, 0 normal, -1 unlabelled.
Alarms in unlabelled time are dropped, and unlabelled time splits a range, true or raised, in two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals
from fleetalign.evaluate.points import PrecisionRecall

Bias = Literal["flat", "front", "middle", "back"]
Cardinality = Literal["one", "reciprocal"]

# Weight of the i-th of n samples, i = 1..n, up to a factor that cancels.
BIASES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "flat": lambda i, n: np.ones(len(i)),
    "front": lambda i, n: n - i + 1.0,
    "middle": lambda i, n: np.where(2 * i <= n, i, n - i + 1.0),
    "back": lambda i, n: i.astype(np.float64),
}


def range_precision_recall(
    alarms: np.ndarray,
    labels: np.ndarray,
    *,
    alpha: float = 0.0,
    cardinality: Cardinality = "one",
    precision_bias: Bias = "flat",
    recall_bias: Bias = "flat",
) -> PrecisionRecall:
    """Compute the mean reward of raised ranges (precision) and of true ranges (recall).

    A true range earns alpha * [any overlap] + (1 - alpha) * gamma * (bias-weighted share overlapped); gamma is 1, or 1
    over the number of ranges that overlap it (``reciprocal``). A raised range earns the same with alpha = 0.

    Raises:
        ValueError: A bias or the cardinality is unknown, alpha is outside 0..1, or the shapes differ.
    """
    if np.shape(alarms) != np.shape(labels):
        raise ValueError(f"alarms {np.shape(alarms)} and labels {np.shape(labels)} must be equally long")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is a weight in 0..1, not {alpha}")
    if cardinality not in ("one", "reciprocal"):
        raise ValueError(f"cardinality is one or reciprocal, not {cardinality!r}")
    for bias in (precision_bias, recall_bias):
        if bias not in BIASES:
            raise ValueError(f"bias is one of {', '.join(BIASES)}, not {bias!r}")
    anomalous, raised = labels == ANOMALY, alarms & (labels != UNLABELLED)
    return PrecisionRecall(
        _mean_reward(raised, anomalous, 0.0, cardinality, precision_bias),
        _mean_reward(anomalous, raised, alpha, cardinality, recall_bias),
    )


def _mean_reward(rewarded: np.ndarray, other: np.ndarray, alpha: float, cardinality: str, bias: str) -> float:
    """Compute the mean reward over the ranges of ``rewarded``; NaN without any."""
    ranges = intervals(rewarded)
    if len(ranges) == 0:
        return float("nan")
    lengths = ranges[:, 1] - ranges[:, 0]
    owner = np.repeat(np.arange(len(ranges)), lengths)
    position = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    weights = BIASES[bias](position, lengths[owner])
    both = other[rewarded]
    share = np.bincount(owner, weights * both) / np.bincount(owner, weights)
    # A range of `other` is counted where it enters; unlabelled time never lies inside a range.
    enters = both & ((position == 1) | ~np.concatenate(([False], both[:-1])))
    overlaps = np.bincount(owner, enters)
    gamma = 1 / np.maximum(overlaps, 1) if cardinality == "reciprocal" else 1.0
    return float(np.mean(alpha * (overlaps > 0) + (1 - alpha) * gamma * share))
