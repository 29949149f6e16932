"""One entity's scores, tabulated over the grid: what alignment needs to know, and nothing that grows with time.

Shapes: t samples of the calibrate range, C conditions, P tail probabilities, G own incidents.
Formulas: docs/method.md (own quantile at a tail probability; leave-one-incident-out).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetalign.align.sweep import Pages, levels, sweep
from fleetalign.contracts.feedback import UNLABELLED, intervals
from fleetalign.contracts.hashing import sha256
from fleetalign.detectors.grid import upper_quantiles


@dataclass(frozen=True, slots=True)
class Counts:
    """Event counts at every grid point: ``hits`` float32 [C, P, G] (a share for controls averaged over seeds),
    ``false_pages`` float32 [C, P] over all time, ``false_judged`` float32 [C, P] over labelled time only."""

    hits: np.ndarray
    false_pages: np.ndarray
    false_judged: np.ndarray


@dataclass(frozen=True, slots=True)
class EntityTables:
    """``quantiles`` float32 [C, P], ``recent_quantiles`` the same of the newest samples; ``tails`` float32 [C, G]: tail
    probability of each incident's highest margin; ``false_points`` float32 [C, P]; ``incidents`` int64 [G, 2];
    ``points`` normal samples; ``judged_steps`` labelled."""

    quantiles: np.ndarray
    recent_quantiles: np.ndarray
    tails: np.ndarray
    false_points: np.ndarray
    incidents: np.ndarray
    points: int
    judged_steps: int
    detector: Counts
    random: Counts
    shifted: Counts


def tabulate(
    margins: np.ndarray,
    labels: np.ndarray,
    incidents: np.ndarray,
    tails: np.ndarray,
    merge_steps: int,
    *,
    random_scores: np.ndarray,
    shifts: np.ndarray,
    recent_steps: int | None = None,
    rounding: float = 0.0,
) -> EntityTables:
    """Tables of one entity.

    ``margins`` float32 [C, t] at threshold 0 (NaN: nothing to say, never an alarm); ``labels`` int8 [t];
    ``incidents`` int64 [G, 2] the anomaly intervals wholly inside the range; ``tails`` float64 [P]; ``random_scores``
    float64 [t] uniform; ``shifts`` float64 [seeds] in (0, 1), the circular shifts of the second control as shares of t;
    ``recent_steps`` how many of the newest samples ``recent_quantiles`` are of (None: all); ``rounding`` the relative
    difference of a consumer's margins, by which thresholds are kept above the sample they stand on.
    Needs at least one normal sample with a margin; unlabelled samples count as normal here.
    """
    quiet = labels != 1
    judged = intervals(labels != UNLABELLED)
    normal = quiet & ~np.isnan(margins[0])
    ordered = np.sort(margins[:, normal], axis=-1)
    quantiles = _thresholds(ordered, tails, rounding)
    recent = normal.copy()
    recent[: len(recent) - (recent_steps or len(recent))] = False
    newest = quantiles
    if 0 < recent.sum() < normal.sum():
        newest = _thresholds(np.sort(margins[:, recent], axis=-1), tails, rounding)
    level = np.stack([levels(row, q) for row, q in zip(margins, quantiles, strict=True)])
    random_margins = np.where(np.isnan(margins[0]), np.nan, random_scores).astype(np.float32)
    random_level = levels(random_margins, upper_quantiles(np.sort(random_margins[normal]), tails))
    tail = np.empty((len(margins), len(incidents)), dtype=np.float32)
    false_points = np.empty(quantiles.shape, dtype=np.float32)
    for c, (row, normals) in enumerate(zip(margins, ordered, strict=True)):
        peaks = np.array([_peak(row[a:b]) for a, b in incidents], dtype=np.float32)
        tail[c] = (len(normals) - np.searchsorted(normals, peaks, side="left") + 0.5) / (len(normals) + 1)
        false_points[c] = len(normals) - np.searchsorted(normals, quantiles[c], side="right")
    random = _counts(random_level[None], len(tails), incidents, judged, merge_steps)
    return EntityTables(
        quantiles,
        newest,
        tail,
        false_points,
        incidents,
        int(normal.sum()),
        int((labels != UNLABELLED).sum()),
        _counts(level, len(tails), incidents, judged, merge_steps),
        _broadcast(random, len(margins)),
        _shifted(level, len(tails), incidents, judged, shifts, merge_steps),
    )


def _thresholds(ordered: np.ndarray, tails: np.ndarray, rounding: float) -> np.ndarray:
    found = upper_quantiles(ordered, tails)
    return (found + np.float32(rounding) * np.abs(found)).astype(np.float32)


def _broadcast(counts: Counts, candidates: int) -> Counts:
    """A score without candidates has the same counts for all of them."""
    arrays = (counts.hits, counts.false_pages, counts.false_judged)
    return Counts(*(np.broadcast_to(a, (candidates, *a.shape[1:])) for a in arrays))


def _peak(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else -np.inf


def _counts(level: np.ndarray, count: int, incidents: np.ndarray, judged: np.ndarray, merge_steps: int) -> Counts:
    """Counts of ``level`` int64 [C, t]."""
    found = sweep(level, count, incidents, judged, merge_steps)
    return Counts(*(a.astype(np.float32) for a in (found.hits, found.false_pages, found.false_judged)))


def _shifted(
    level: np.ndarray, count: int, incidents: np.ndarray, judged: np.ndarray, shifts: np.ndarray, merge_steps: int
) -> Counts:
    """Means over ``shifts``; zeros where there is no incident to shift against."""
    candidates, length = level.shape
    hits = np.zeros((len(incidents), candidates, count))
    false_pages, false_judged = np.zeros(hits.shape[1:]), np.zeros(hits.shape[1:])
    offsets = np.maximum((shifts * length).astype(np.int64), 1)
    pages = Pages(level, count, merge_steps)
    for truth in move_truth(incidents, judged, length, offsets) if len(incidents) else ():
        found = pages.against(truth.incidents, truth.judged)
        hit = np.zeros(hits.shape, dtype=bool)
        np.logical_or.at(hit, truth.owner, np.moveaxis(found.hits, -1, 0))  # an incident that wraps has two images
        hits += hit
        false_pages += found.false_pages
        false_judged += found.false_judged
    hits, size = np.moveaxis(hits, 0, -1), max(len(shifts), 1)
    return Counts(*((array / size).astype(np.float32) for array in (hits, false_pages, false_judged)))


@dataclass(frozen=True, slots=True)
class MovedTruth:
    """Incidents and labelled time moved circularly: sorted disjoint images [n, 2], and whose image each is [n]."""

    incidents: np.ndarray
    owner: np.ndarray
    judged: np.ndarray


def move_truth(incidents: np.ndarray, judged: np.ndarray, length: int, offsets: np.ndarray) -> list[MovedTruth]:
    """Moving the truth one way equals moving the alarms the other way; an interval that wraps has two images."""
    moved = []
    for offset in offsets:
        images, owner = _images(incidents, -offset, length)
        moved.append(MovedTruth(images, owner, _images(judged, -offset, length)[0]))
    return moved


def _images(pairs: np.ndarray, offset: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    start = (pairs[:, 0] + offset) % length
    end = start + (pairs[:, 1] - pairs[:, 0])
    wraps = end > length
    images = np.concatenate(
        [
            np.stack([start, np.minimum(end, length)], axis=1),
            np.stack([np.zeros(int(wraps.sum()), dtype=np.int64), end[wraps] - length], axis=1),
        ]
    )
    owner = np.concatenate([np.arange(len(pairs)), np.flatnonzero(wraps)])
    order = np.argsort(images[:, 0], kind="stable")
    return images[order], owner[order]


def seeded_uniform(seed: int, kind: str, entity_id: str, count: int) -> np.ndarray:
    """Uniform numbers float64 [count] that depend on the entity alone, so that sharding changes nothing."""
    digest = sha256(f"{seed}\x00{kind}\x00{entity_id}".encode())
    return np.random.default_rng(int(digest[:16], 16)).random(count)
