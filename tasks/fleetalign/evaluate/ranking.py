"""Measures of a score without a threshold: average precision, range AUC, VUS.

Shapes: t time steps, n labelled steps, G incidents, b buffer lengths, k thresholds. ``scores`` float [t], higher is
more anomalous; ``labels`` int8 [t]: 1 anomaly, 0 normal, -1 unlabelled.

NaN (and -inf) scores are missing: they are never an alarm and supply no threshold. Unlabelled steps supply no threshold,
count nowhere, and split time into independent pieces. A slope of VUS ends where its piece ends, and two steps on both
sides of unlabelled time are never one incident.

Every measure is NaN where no labelled step is an anomaly, and 0 where no labelled step has a score. Range measures are
0 for a constant score too: their first trapezoid starts at precision 1 and would credit it with more than a half.

VUS: Paparrizos, Boniol, Palpanas, Tsay, Elmore, Franklin, "Volume Under the Surface", PVLDB 15(11), 2022. The slopes
are those of the published implementation: ``l // 2`` steps before an incident and ``l // 2 - 1`` after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals

NUM_THRESHOLDS = 250


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Sum precision times the gain in recall over every distinct score, without interpolation.

    A random score gets the share of anomalies among labelled steps. Anomalies without a score are never recalled.

    Raises:
        ValueError: The shapes differ.
    """
    scores, labels = _checked(scores, labels)
    anomalous = int((labels == ANOMALY).sum())
    if anomalous == 0:
        return float("nan")
    counted = (labels != UNLABELLED) & ~np.isnan(scores)
    order = np.argsort(-scores[counted], kind="stable")
    ranked, hits = scores[counted][order], np.cumsum(labels[counted][order] == ANOMALY)
    if len(ranked) == 0:
        return 0.0
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    gained = np.diff(hits[last], prepend=0)
    return float((gained * hits[last] / (last + 1)).sum() / anomalous)


def vus_pr(
    scores: np.ndarray,
    labels: np.ndarray,
    buffer: int = 100,
    *,
    buffers: Sequence[int] | None = None,
    thresholds: int = NUM_THRESHOLDS,
) -> float:
    """Compute the volume under the precision-recall surface.

    It is the mean range-PR-AUC over buffer lengths 0..``buffer`` steps. ``buffers`` overrides the lengths (a coarser
    grid is faster and no longer the definition).

    Raises:
        ValueError: The shapes differ or a length is negative.
    """
    return float(range_aucs(scores, labels, range(buffer + 1) if buffers is None else buffers, thresholds)[0].mean())


def vus_roc(
    scores: np.ndarray,
    labels: np.ndarray,
    buffer: int = 100,
    *,
    buffers: Sequence[int] | None = None,
    thresholds: int = NUM_THRESHOLDS,
) -> float:
    """Compute the volume under the ROC surface as ``vus_pr`` does.

    NaN also where no labelled step is normal.
    """
    return float(range_aucs(scores, labels, range(buffer + 1) if buffers is None else buffers, thresholds)[1].mean())


def range_pr_auc(scores: np.ndarray, labels: np.ndarray, buffer: int, *, thresholds: int = NUM_THRESHOLDS) -> float:
    """Compute the area under the range-based precision-recall curve at one buffer length."""
    return float(range_aucs(scores, labels, [buffer], thresholds)[0][0])


def range_roc_auc(scores: np.ndarray, labels: np.ndarray, buffer: int, *, thresholds: int = NUM_THRESHOLDS) -> float:
    """Compute the area under the range-based ROC curve at one buffer length in steps."""
    return float(range_aucs(scores, labels, [buffer], thresholds)[1][0])


def range_aucs(
    scores: np.ndarray, labels: np.ndarray, buffers: Sequence[int], thresholds: int = NUM_THRESHOLDS
) -> tuple[np.ndarray, np.ndarray]:
    """Compute range-PR-AUC and range-ROC-AUC, float64 [b] each, one per buffer length.

    Thresholds are taken at evenly spaced ranks of the labelled scores, an alarm is ``score >= threshold``. With soft
    labels y: true = sum of y over alarms, positives P = (sum of hard + sum of soft labels) / 2, recall =
    min(true / P, 1) times the share of (softened, merged) incidents with an alarm, precision = true / alarms.

    Raises:
        ValueError: The shapes differ, ``thresholds`` < 1, a buffer is negative or there is none.
    """
    scores, labels = _checked(scores, labels)
    lengths = np.asarray(buffers, dtype=np.int64)
    if lengths.size == 0 or lengths.min() < 0 or thresholds < 1:
        raise ValueError("needs at least one threshold and buffer lengths that are not negative")
    undefined = np.full(len(lengths), np.nan)
    if not (labels == ANOMALY).any():
        return undefined, undefined.copy()
    pieces = _Pieces.of(labels)
    values = scores[labels != UNLABELLED]
    present = values[~np.isnan(values)]
    if len(present) == 0 or present.min() == present.max():
        nothing = np.zeros(len(lengths))
        return nothing, nothing.copy() if pieces.normal else undefined

    descending = np.sort(present)[::-1]
    cuts = descending[np.linspace(0, len(present) - 1, thresholds, dtype=np.int64)]
    # The first threshold at which each step is an alarm; `thresholds` where it never is.
    first = np.full(len(values), thresholds, dtype=np.int64)
    first[~np.isnan(values)] = thresholds - np.searchsorted(cuts[::-1], present, side="right")

    alarms = _cumulated(first, None, thresholds)
    hard = _cumulated(first[pieces.anomalous], None, thresholds)
    slopes, slope_total = _slopes(first, pieces, lengths, thresholds)
    true = hard + slopes
    positives = pieces.anomalous.sum() + slope_total / 2
    found = _existence(first, pieces, lengths // 2, thresholds)
    recall = np.minimum(true / positives[:, None], 1) * found
    precision = true / alarms

    edge = np.zeros((len(lengths), 1))
    recall_from_0 = np.hstack([edge, recall])
    precision_from_1 = np.hstack([edge + 1, precision])
    pr = (np.diff(recall_from_0) * (precision_from_1[:, 1:] + precision_from_1[:, :-1])).sum(axis=1) / 2

    negatives = len(values) - positives
    with np.errstate(divide="ignore", invalid="ignore"):
        false = np.minimum((alarms - true) / negatives[:, None], 1)
    false_to_1 = np.hstack([edge, false, edge + 1])
    recall_to_1 = np.hstack([recall_from_0, edge + 1])
    roc = (np.diff(false_to_1) * (recall_to_1[:, 1:] + recall_to_1[:, :-1])).sum(axis=1) / 2
    return pr, roc if pieces.normal else undefined


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Labelled time with the unlabelled steps taken out."""

    anomalous: np.ndarray
    """bool [n]"""
    incidents: np.ndarray
    """int64 [G, 2]: half-open indices into ``anomalous``."""
    bounds: np.ndarray
    """int64 [G, 2]: where the labelled piece around each incident begins and ends."""
    normal: bool
    """Whether any step is normal."""

    @classmethod
    def of(cls, labels: np.ndarray) -> _Pieces:
        labelled = labels != UNLABELLED
        place = np.concatenate(([0], np.cumsum(labelled)))
        incidents = intervals(labels == ANOMALY)
        around = intervals(labelled)
        which = np.searchsorted(around[:, 0], incidents[:, 0], side="right") - 1
        anomalous = (labels == ANOMALY)[labelled]
        return cls(anomalous, place[incidents], place[around[which]], not bool(anomalous.all()))


def _cumulated(first: np.ndarray, weights: np.ndarray | None, thresholds: int) -> np.ndarray:
    """Sum the weight of alarms at each threshold, [k]."""
    return np.cumsum(np.bincount(first, weights, thresholds + 1)[:thresholds])


def _slopes(first: np.ndarray, pieces: _Pieces, lengths: np.ndarray, thresholds: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum the soft labels outside incidents: of alarms [b, k], and of all steps [b].

    At distance d from an incident the slope of length l is sqrt(1 - d / l); slopes add up, to at most 1.
    """
    reach = int(lengths.max()) // 2
    distance = np.concatenate([np.arange(1, reach + 1), np.arange(1, reach)])
    before = np.arange(len(distance)) < reach
    limit = np.where(before, lengths[:, None] // 2, lengths[:, None] // 2 - 1)
    table = np.sqrt(np.maximum(1 - distance / np.maximum(lengths[:, None], 1), 0)) * (distance <= limit)

    starts, ends = pieces.incidents[:, :1], pieces.incidents[:, 1:]
    steps = np.where(before, starts - distance, ends - 1 + distance)
    inside = (steps >= pieces.bounds[:, :1]) & (steps < pieces.bounds[:, 1:])
    steps, columns = steps[inside], np.nonzero(inside)[1]
    outside = ~pieces.anomalous[steps]
    steps, columns = steps[outside], columns[outside]
    if len(steps) == 0:
        return np.zeros((len(lengths), thresholds)), np.zeros(len(lengths))

    order = np.lexsort((steps, first[steps]))
    steps, soft = steps[order], table[:, columns[order]]
    begins = np.flatnonzero(np.append(True, steps[1:] != steps[:-1]))
    if len(begins) < len(steps):
        soft = np.minimum(np.add.reduceat(soft, begins, axis=1), 1)
    bins = first[steps[begins]]
    bin_begins = np.flatnonzero(np.append(True, bins[1:] != bins[:-1]))
    per_threshold = np.zeros((len(lengths), thresholds + 1))
    per_threshold[:, bins[bin_begins]] = np.add.reduceat(soft, bin_begins, axis=1)
    return np.cumsum(per_threshold[:, :thresholds], axis=1), soft.sum(axis=1)


def _existence(first: np.ndarray, pieces: _Pieces, halves: np.ndarray, thresholds: int) -> np.ndarray:
    """Compute the share of softened incidents with an alarm, [b, k].

    Incidents whose slopes meet are one.
    """
    reach = int(halves.max())
    starts, ends = pieces.incidents[:, 0], pieces.incidents[:, 1]
    core = np.minimum.reduceat(np.append(first, thresholds), pieces.incidents.ravel())[::2]
    away = np.arange(1, reach + 1)
    left, right = starts[:, None] - away, ends[:, None] - 1 + away
    quiet = np.int64(thresholds)
    left = np.where(left >= pieces.bounds[:, :1], first[np.maximum(left, 0)], quiet)
    right = np.where(right < pieces.bounds[:, 1:], first[np.minimum(right, len(first) - 1)], quiet)
    # earliest[g, h]: first threshold that alarms incident g or its slopes of half-length h.
    earliest = np.empty((len(starts), reach + 1), dtype=np.int64)
    earliest[:, 0] = core
    earliest[:, 1:] = np.minimum(core[:, None], np.minimum(_running(left), _shifted(_running(right), quiet)))

    gaps = starts[1:] - ends[:-1]
    same_piece = pieces.bounds[1:, 0] == pieces.bounds[:-1, 0]
    share = np.empty((reach + 1, thresholds))
    for half in np.unique(halves):
        meet = same_piece & (gaps <= half + max(half - 1, 0))
        groups = np.flatnonzero(np.append(True, ~meet))
        share[half] = _cumulated(np.minimum.reduceat(earliest[:, half], groups), None, thresholds) / len(groups)
    chosen: Floats = share[halves]
    return chosen


def _running(firsts: np.ndarray) -> Ints:
    lowest: Ints = np.minimum.accumulate(firsts, axis=1) if firsts.shape[1] else firsts
    return lowest


def _shifted(firsts: np.ndarray, fill: np.int64) -> np.ndarray:
    """Shift by one step: the slope after an incident is one step shorter than the one before it."""
    return np.concatenate([np.full((len(firsts), 1), fill), firsts[:, :-1]], axis=1) if firsts.shape[1] else firsts


def _checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must be one series each, equally long")
    return np.where(np.isneginf(scores), np.nan, scores), labels
