"""What is compared: causal scores over every entity's test part, made from train data alone.

``Method`` is what all of them come to; the random one is made here, those of a detector in ``bench.detection.learned``.
Shapes: E entities, t samples of an entity's test part, M metrics, R candidates, W window_steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.detection.labelled import Given
from fleetalign.config import AlignConfig
from fleetalign.detectors.grid import Grid, single_candidate
from fleetalign.detectors.views.margins import smooth
from fleetalign.evaluate.controls import uniform_scores

SMOOTHING = 0.3
PUBLISHED_WINDOW = 100

RANDOM = "random"
MEAN_Z = "mean |z|"
PCA = "rank-1 PCA + EWMA"
SHAREAD = "ShareAD (published)"
SHAREAD_SMOOTH = "ShareAD + EWMA"
UNTRAINED = "views, untrained"
LINEAR = "views, near-linear"
UNTOLD = "views, no feedback"
VIEWS = "views"
ORDER = (RANDOM, MEAN_Z, PCA, SHAREAD, SHAREAD_SMOOTH, UNTRAINED, LINEAR, UNTOLD, VIEWS)


@dataclass(frozen=True, slots=True)
class Method:
    """One method on one set: per entity ``margins`` float32 [R, t] at threshold 0, one row per candidate of ``grid``.

    ``scores``: per entity float32 [t], what is ranked; None where that is the margin of the candidate that alignment
    chooses. ``profiles``: per entity float32 [t, W], for the published aligner (None: it does not apply).
    ``rounding``: see ``fleetalign.detectors.margins``. ``seconds``: processor time used, by what for.
    """

    name: str
    grid: Grid
    margins: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...] | None = None
    profiles: tuple[np.ndarray, ...] | None = None
    rounding: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def ranked(self, candidate: int) -> tuple[np.ndarray, ...]:
        """Return the ranked score of ``candidate``, float32 [t] per entity."""
        return self.scores or tuple(rows[candidate] for rows in self.margins)


def of_scores(
    name: str,
    scores: Sequence[np.ndarray],
    config: AlignConfig,
    *,
    profiles: Sequence[np.ndarray] | None = None,
    seconds: dict[str, float] | None = None,
) -> Method:
    """Make a method without candidates: its margin is its score ([t] per entity)."""
    kept = tuple(np.asarray(one, dtype=np.float32) for one in scores)
    margins = tuple(one[None] for one in kept)
    return Method(
        name, single_candidate(config), margins, kept, None if profiles is None else tuple(profiles), 0.0, seconds or {}
    )


def random(given: Given, config: AlignConfig, seed: int) -> Method:
    """Make a random score, and the window of it that the published aligner reads."""
    scores, profiles = [], []
    for e, entity_id in enumerate(given.panel.entity_ids):
        steps = given.test_steps(e)
        drawn = uniform_scores(given.panel.kind, entity_id, seed, steps + PUBLISHED_WINDOW - 1).astype(np.float32)
        scores.append(drawn[PUBLISHED_WINDOW - 1 :])
        profiles.append(np.lib.stride_tricks.sliding_window_view(drawn, PUBLISHED_WINDOW))
    return of_scores(RANDOM, scores, config, profiles=profiles)


def smoothed(scores: np.ndarray) -> np.ndarray:
    """Exponentially weighted mean of ``scores`` [t] as the product smooths its views; NaN stays and counts nowhere."""
    out = np.array(scores, dtype=np.float32)
    said = np.isfinite(out)
    out[said] = smooth(out[said, None].astype(np.float64), SMOOTHING)[:, 0]
    return out
