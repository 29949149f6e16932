"""Tabulates one entity's scores over the grid: all that alignment needs of them.

The size of the tables does not grow with time.

Shapes: t samples of the calibrate range, C conditions, P tail probabilities, G own incidents.
Formulas: docs/method.md (own quantile at a tail probability; leave-one-incident-out).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetalign.align.sweep import Levels, Pages, alarm_levels, sweep
from fleetalign.contracts.arrays import Floats, Floats32, Ints
from fleetalign.contracts.feedback import UNLABELLED, intervals
from fleetalign.contracts.hashing import sha256
from fleetalign.detectors.grid import upper_quantiles


@dataclass(frozen=True, slots=True)
class Counts:
    """Event counts at every grid point."""

    hits: Floats32
    """[C, P, G]; a share where a control is a mean over seeds."""
    false_pages: Floats32
    """Over all time [C, P]."""
    false_judged: Floats32
    """Over labelled time only [C, P]."""


@dataclass(frozen=True, slots=True)
class EntityTables:
    """The tables of one entity."""

    quantiles: Floats32
    """Threshold at every grid point [C, P]."""
    recent_quantiles: Floats32
    """The same of the newest samples [C, P]."""
    tails: Floats32
    """Tail probability of the highest margin of each incident [C, G]."""
    false_points: Floats32
    """Normal samples above the threshold [C, P]."""
    incidents: Ints
    """Half-open intervals [G, 2]."""
    points: int
    """Normal samples."""
    judged_steps: int
    """Labelled samples."""
    detector: Counts
    random: Counts
    shifted: Counts


def tabulate(
    margins: Floats32,
    labels: npt.NDArray[np.int8],
    incidents: Ints,
    tails: Floats,
    merge_steps: int,
    *,
    random_scores: Floats,
    shifts: Floats,
    recent_steps: int | None = None,
    rounding: float = 0.0,
) -> EntityTables:
    """Tabulate one entity.

    ``margins`` float32 [C, t] at threshold 0 (NaN: no score, never an alarm); ``labels`` int8 [t];
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
    level = np.stack([alarm_levels(row, q) for row, q in zip(margins, quantiles, strict=True)])
    random_margins = np.where(np.isnan(margins[0]), np.nan, random_scores).astype(np.float32)
    random_level = alarm_levels(random_margins, upper_quantiles(np.sort(random_margins[normal]), tails))
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


def _thresholds(ordered: Floats32, tails: Floats, rounding: float) -> Floats32:
    found = upper_quantiles(ordered, tails)
    raised: Floats32 = (found + np.float32(rounding) * np.abs(found)).astype(np.float32)
    return raised


def _broadcast(counts: Counts, candidates: int) -> Counts:
    """Repeat the counts of a score without candidates for all candidates."""
    arrays = (counts.hits, counts.false_pages, counts.false_judged)
    return Counts(*(np.broadcast_to(a, (candidates, *a.shape[1:])) for a in arrays))


def _peak(values: Floats32) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else -np.inf


def _counts(level: Levels, count: int, incidents: Ints, judged: Ints, merge_steps: int) -> Counts:
    """Count pages of ``level`` [C, t]."""
    found = sweep(level, count, incidents, judged, merge_steps)
    return Counts(*(a.astype(np.float32) for a in (found.hits, found.false_pages, found.false_judged)))


def _shifted(level: Levels, count: int, incidents: Ints, judged: Ints, shifts: Floats, merge_steps: int) -> Counts:
    """Average the counts over ``shifts``; zeros where there is no incident to shift against."""
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
    """Incidents and labelled time, shifted circularly: sorted disjoint intervals [n, 2]."""

    incidents: Ints
    owner: Ints
    """Index of the incident that each interval is an image of."""
    judged: Ints


def move_truth(incidents: Ints, judged: Ints, length: int, offsets: Ints) -> list[MovedTruth]:
    """Shift incidents and labelled time by each of ``offsets``.

    That equals shifting the alarms the other way.

    An interval that wraps around the end has two images.
    """
    moved = []
    for offset in offsets:
        images, owner = _images(incidents, -offset, length)
        moved.append(MovedTruth(images, owner, _images(judged, -offset, length)[0]))
    return moved


def _images(pairs: Ints, offset: int, length: int) -> tuple[Ints, Ints]:
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


def seeded_uniform(seed: int, kind: str, entity_id: str, count: int) -> Floats:
    """Draw uniform numbers [count] that depend on the entity alone, not on its shard."""
    digest = sha256(f"{seed}\x00{kind}\x00{entity_id}".encode())
    return np.random.default_rng(int(digest[:16], 16)).random(count)
