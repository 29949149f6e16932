"""The fixed grid of conditions C and tail probabilities p on which every entity is tabulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetalign.config import AlignConfig


@dataclass(frozen=True, slots=True)
class Grid:
    """``conditions`` ascending int [C], ``tails`` ascending float64 [P] (log-spaced)."""

    conditions: tuple[int, ...]
    tails: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.conditions), len(self.tails)


def make_grid(config: AlignConfig, window_steps: int) -> Grid:
    """Candidate conditions that fit the window, and log-spaced tail probabilities."""
    fitting = {c for c in config.conditions if c <= window_steps} | {min(config.default_condition, window_steps)}
    tails = np.geomspace(config.tail_probability_min, config.tail_probability_max, config.tail_probability_count)
    return Grid(tuple(sorted(fitting)), tails)


def upper_quantiles(normal: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """For each p the smallest observed value that at most a share p of ``normal`` [n] exceeds: float32 [P].

    An order statistic, not an interpolation, so that "alarm when above" means the same in float32 everywhere.
    """
    ordered = np.sort(normal.astype(np.float32))
    index = len(ordered) - 1 - np.floor(tails * len(ordered)).astype(np.int64)
    return ordered[np.clip(index, 0, len(ordered) - 1)]
