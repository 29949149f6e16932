"""The grid on which every entity is tabulated: candidate settings and tail probabilities p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetalign.config import AlignConfig
from fleetalign.contracts.arrays import Floats, Ints


@dataclass(frozen=True, slots=True)
class Grid:
    """Candidates [R] and tail probabilities [P] of one detector."""

    candidates: tuple[Any, ...]
    """A condition C in steps each, or where the fleet shares one candidate the values of its ``fleet_statistics``."""
    tails: Floats
    """Shares of normal samples above the threshold: [P], ascending, log-spaced."""
    default: int = 0
    """Index of the candidate that holds before any feedback exists."""
    shared_candidate: bool = False
    """Whether the fleet has one candidate and entities differ in p alone; else every entity has its own."""
    fleet_statistics: tuple[str, ...] = ()
    """Columns of the normalizer table that the chosen candidate fills, in its order."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of candidates and of tail probabilities."""
        return len(self.candidates), len(self.tails)

    @property
    def conditions(self) -> tuple[int, ...]:
        """C of every candidate, in steps; 0 where the margin uses none (contracts 3.4)."""
        return tuple(0 if self.shared_candidate else int(c) for c in self.candidates)


def single_candidate(config: AlignConfig) -> Grid:
    """Return the grid of a detector without settings to choose: entities differ in p alone."""
    return Grid(((),), make_tails(config), shared_candidate=True)


def condition_grid(config: AlignConfig, window_steps: int) -> Grid:
    """Return the conditions C that fit the window as candidates; every entity has its own."""
    default = min(config.grid.default_condition, window_steps)
    conditions = sorted({c for c in config.grid.conditions if c <= window_steps} | {default})
    return Grid(tuple(conditions), make_tails(config), conditions.index(default))


def make_tails(config: AlignConfig) -> Floats:
    """Return the log-spaced tail probabilities [P]."""
    grid = config.grid
    return np.geomspace(grid.tail_probability_min, grid.tail_probability_max, grid.tail_probability_count)


def upper_quantiles(ordered: np.ndarray, tails: Floats) -> np.ndarray:
    """Return for each p the smallest value that at most a share p exceeds: [..., P].

    The values are ``ordered`` [..., n], ascending.
    An order statistic, not an interpolation, so that "alarm when above" means the same in float32 everywhere.
    """
    count = ordered.shape[-1]
    index: Ints = count - 1 - np.floor(tails * count).astype(np.int64)
    return ordered[..., np.clip(index, 0, count - 1)]
