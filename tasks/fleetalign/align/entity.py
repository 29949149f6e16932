"""One entity's scores, tabulated over the grid: what alignment needs to know, and nothing that grows with time.

Shapes: t samples of the calibrate range, C conditions, P tail probabilities, G own incidents.
Formulas: docs/method.md (own quantile at a tail probability; leave-one-incident-out).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetalign.align.grid import Grid, upper_quantiles
from fleetalign.contracts.feedback import UNLABELLED, intervals
from fleetalign.contracts.hashing import sha256
from fleetalign.evaluate.metrics import pages, touches


@dataclass(frozen=True, slots=True)
class Counts:
    """Event counts at every grid point: ``hits`` float32 [C, P, G] (a share for controls averaged over seeds),
    ``false_pages`` float32 [C, P] over all time, ``false_judged`` float32 [C, P] over labelled time only."""

    hits: np.ndarray
    false_pages: np.ndarray
    false_judged: np.ndarray


@dataclass(frozen=True, slots=True)
class EntityTables:
    """``quantiles`` float32 [C, P]; ``tails`` float32 [C, G]: tail probability of each incident's highest margin;
    ``false_points`` float32 [C, P]; ``incidents`` int64 [G, 2]; ``points`` normal samples; ``judged_steps`` labelled."""

    quantiles: np.ndarray
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
    grid: Grid,
    merge_steps: int,
    *,
    random_scores: np.ndarray,
    shifts: np.ndarray,
) -> EntityTables:
    """Tables of one entity.

    ``margins`` float32 [C, t] at threshold 0 (NaN: nothing to say, never an alarm); ``labels`` int8 [t];
    ``incidents`` int64 [G, 2] the anomaly intervals wholly inside the range; ``random_scores`` float64 [t] uniform;
    ``shifts`` float64 [seeds] in (0, 1), the circular shifts of the second control as shares of t.
    Needs at least one normal sample with a margin; unlabelled samples count as normal here.
    """
    quiet = labels != 1
    judged = intervals(labels != UNLABELLED)
    normal = quiet & ~np.isnan(margins[0])
    quantiles = np.stack([upper_quantiles(row[normal], grid.tails) for row in margins])
    detector, shifted = _tabulate_alarms(margins, quantiles, incidents, judged, merge_steps, shifts)
    random_quantiles = upper_quantiles(random_scores[normal], grid.tails)[None]
    random_margins = np.where(np.isnan(margins[:1]), np.nan, random_scores[None]).astype(np.float32)
    random, _ = _tabulate_alarms(random_margins, random_quantiles, incidents, judged, merge_steps, shifts[:0])
    tails = np.empty((len(margins), len(incidents)), dtype=np.float32)
    false_points = np.empty(quantiles.shape, dtype=np.float32)
    for c, row in enumerate(margins):
        ordered = np.sort(row[normal])
        peaks = np.array([_peak(row[a:b]) for a, b in incidents], dtype=np.float32)
        tails[c] = (len(ordered) - np.searchsorted(ordered, peaks, side="left") + 0.5) / (len(ordered) + 1)
        false_points[c] = len(ordered) - np.searchsorted(ordered, quantiles[c], side="right")
    return EntityTables(
        quantiles,
        tails,
        false_points,
        incidents,
        int(normal.sum()),
        int((labels != UNLABELLED).sum()),
        detector,
        _broadcast(random, len(margins)),
        shifted,
    )


def _broadcast(counts: Counts, conditions: int) -> Counts:
    """A score without a condition has the same counts for every C."""
    arrays = (counts.hits, counts.false_pages, counts.false_judged)
    return Counts(*(np.broadcast_to(a, (conditions, *a.shape[1:])) for a in arrays))


def _peak(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else -np.inf


def _tabulate_alarms(
    margins: np.ndarray,
    quantiles: np.ndarray,
    incidents: np.ndarray,
    judged: np.ndarray,
    merge_steps: int,
    shifts: np.ndarray,
) -> tuple[Counts, Counts]:
    shape = quantiles.shape
    length = margins.shape[1]
    own = Counts(
        np.zeros((*shape, len(incidents)), np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    )
    moved = Counts(*(np.zeros_like(a) for a in (own.hits, own.false_pages, own.false_judged)))
    truths = move_truth(incidents, judged, length, np.maximum((shifts * length).astype(np.int64), 1))
    for c, p in np.ndindex(shape):
        raised = pages(margins[c] > quantiles[c, p], merge_steps)
        false = ~touches(raised, incidents)
        own.hits[c, p] = touches(incidents, raised)
        own.false_pages[c, p] = false.sum()
        own.false_judged[c, p] = (false & touches(raised, judged)).sum()
        if truths and len(incidents):
            moved.hits[c, p], moved.false_judged[c, p] = shifted_counts(raised, truths, len(incidents))
            moved.false_pages[c, p] = len(raised)
    return own, moved


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


def shifted_counts(raised: np.ndarray, moved: list[MovedTruth], count: int) -> tuple[np.ndarray, float]:
    """Mean over ``moved`` of (incident hit [count], false pages that touch labelled time)."""
    hits = np.zeros(count)
    false = 0.0
    if len(raised):
        for truth in moved:
            hits[np.unique(truth.owner[touches(truth.incidents, raised)])] += 1.0
            false += float((~touches(raised, truth.incidents) & touches(raised, truth.judged)).sum())
    return hits / len(moved), false / len(moved)


def seeded_uniform(seed: int, kind: str, entity_id: str, count: int) -> np.ndarray:
    """Uniform numbers float64 [count] that depend on the entity alone, so that sharding changes nothing."""
    digest = sha256(f"{seed}\x00{kind}\x00{entity_id}".encode())
    return np.random.default_rng(int(digest[:16], 16)).random(count)
