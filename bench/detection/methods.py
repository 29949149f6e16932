"""What is compared: causal scores over every entity's test part, made from train data alone.

``Method`` is what all of them come to; the simple ones are made here, those with a network in ``bench.learned``.
Shapes: E entities, t samples of an entity's test part, M metrics, R candidates, W window_steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.detection.labelled import Given
from fleetalign.config import AlignConfig, ModelConfig
from fleetalign.detectors.grid import Grid, make_tails
from fleetalign.detectors.margins import smooth
from fleetalign.detectors.views.statistics import first_direction, residuals
from fleetalign.evaluate.controls import uniform_scores
from fleetalign.model import normalizer

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
    ``rounding``: see ``align.signal``. ``seconds``: processor time used, by what for.
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
    grid = Grid(("score",), make_tails(config), shared_candidate=True)
    margins = tuple(one[None] for one in kept)
    return Method(name, grid, margins, kept, None if profiles is None else tuple(profiles), 0.0, seconds or {})


def simple(given: Given, config: AlignConfig) -> list[Method]:
    """Methods without a network: they have no seed."""
    place = normalizer.build(given.training, ModelConfig(), config.min_history_steps).lookup()

    def made(name: str, score: Callable[[int], np.ndarray]) -> Method:
        started = time.process_time()
        scores = [score(e) for e in range(given.entities)]
        return of_scores(name, scores, config, seconds={"score": time.process_time() - started})

    def mean_z(e: int) -> np.ndarray:
        return _mean(np.abs(_standardised(given, e, given.start, int(given.stop[e]), *place)))

    def rank_one(e: int) -> np.ndarray:
        """Mean squared rank-1 residual; the direction comes from the train part."""
        direction = first_direction(np.nan_to_num(_standardised(given, e, 0, given.start, *place)))
        z = _standardised(given, e, given.start, int(given.stop[e]), *place)
        seen = np.isfinite(z)
        found = _mean(np.where(seen, residuals(np.nan_to_num(z), seen, direction) ** 2, np.nan))
        return smoothed(found)

    return [made(MEAN_Z, mean_z), made(PCA, rank_one)]


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


def _standardised(given: Given, e: int, start: int, stop: int, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Clipped z-scores float64 [stop - start, M]; NaN where nothing was measured or nothing is known of the metric."""
    clip = ModelConfig().clip
    return np.clip((given.panel.values[e, start:stop] - location[e]) / scale[e], -clip, clip)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over metrics that were measured [t]; NaN where none was."""
    seen = np.isfinite(values)
    number = seen.sum(axis=1)
    total = np.where(seen, values, 0.0).sum(axis=1)
    return np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)
