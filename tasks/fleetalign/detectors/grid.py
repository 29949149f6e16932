"""The fixed grid of candidates and tail probabilities p on which every entity is tabulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from fleetalign.config import AlignConfig


@dataclass(frozen=True, slots=True)
class Grid:
    """``candidates`` [C], ``tails`` ascending float64 [P] (log-spaced).

    A candidate is a condition C of ``sharead``, or of ``views`` the weights of its views followed by a smoothing.
    ``default`` is the index of the one that holds while nobody has said anything. With ``shared_candidate`` the fleet has
    one candidate and entities differ in p alone.
    """

    candidates: tuple[Any, ...]
    tails: np.ndarray
    default: int = 0
    shared_candidate: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.candidates), len(self.tails)

    @property
    def conditions(self) -> tuple[int, ...]:
        """C of every candidate, in steps; 0 where the margin uses none (contracts 3.4)."""
        return tuple(0 if self.shared_candidate else int(c) for c in self.candidates)


def grid_of(card: Mapping[str, Any], config: AlignConfig) -> Grid:
    """The grid of a model, by its card."""
    if card["condition_used"]:
        return make_grid(config, card["window_steps"])
    candidates = tuple((*weights, smoothing) for smoothing, weights in product(config.smoothings, config.view_weights))
    return Grid(candidates, make_tails(config), shared_candidate=True)


def make_grid(config: AlignConfig, window_steps: int) -> Grid:
    """Candidate conditions that fit the window, and log-spaced tail probabilities."""
    default = min(config.default_condition, window_steps)
    conditions = sorted({c for c in config.conditions if c <= window_steps} | {default})
    return Grid(tuple(conditions), make_tails(config), conditions.index(default))


def make_tails(config: AlignConfig) -> np.ndarray:
    """The log-spaced tail probabilities float64 [P]."""
    return np.geomspace(config.tail_probability_min, config.tail_probability_max, config.tail_probability_count)


def upper_quantiles(ordered: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """For each p the smallest value that at most a share p of ``ordered`` [..., n] (ascending) exceeds: [..., P].

    An order statistic, not an interpolation, so that "alarm when above" means the same in float32 everywhere.
    """
    count = ordered.shape[-1]
    index = count - 1 - np.floor(tails * count).astype(np.int64)
    return ordered[..., np.clip(index, 0, count - 1)]
