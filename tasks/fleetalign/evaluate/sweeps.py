"""Best F1 over every threshold: exact sweeps of the sorted scores, O(n log n), no grid.

See method H.1.

Shapes: t time steps, G segments, A anomalous samples. An alarm is ``score >= threshold``; NaN (and -inf) scores never
are. Best-threshold figures choose the threshold on the labels they are judged by: they are oracles, upper bounds.

Raising the scores inside each segment turns every adjusted measure into the point-wise one: point adjustment raises
all to the segment's maximum, the k-delay sets all to the maximum of its first k + 1 samples, PA%K raises all to the
score at which enough of the segment is alarmed. Unlabelled samples are as in ``points`` and ``events``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.contracts.feedback import ANOMALY, NORMAL, UNLABELLED, intervals
from fleetalign.evaluate.points import needed_alarms


@dataclass(frozen=True, slots=True)
class Best:
    """The best F1 over all thresholds."""

    f1: float
    """NaN where there was nothing to find."""
    threshold: float
    """The lowest threshold that reaches it; +inf where there was nothing to find."""


NOTHING_TO_FIND = Best(float("nan"), float("inf"))


def best_point_f1(scores: np.ndarray, labels: np.ndarray) -> Best:
    """Find the best point-wise F1."""
    scores = _without_nan(scores, labels)
    return _best(scores[labels == ANOMALY], scores[labels == NORMAL])


def best_point_adjusted_f1(scores: np.ndarray, labels: np.ndarray) -> Best:
    """Find the best point-adjusted F1: PA%K at K = 0."""
    return best_pa_k_f1(scores, labels, 0)


def best_delay_limited_f1(scores: np.ndarray, labels: np.ndarray, delay_steps: int) -> Best:
    """Find the best delay-limited F1.

    Raises:
        ValueError: ``delay_steps`` is negative.
    """
    if delay_steps < 0:
        raise ValueError(f"a delay of {delay_steps} steps is not possible")
    scores = _without_nan(scores, labels)
    segments = intervals(labels == ANOMALY)
    early = [scores[start : min(end, start + delay_steps + 1)].max() for start, end in segments]
    return _best(np.repeat(early, segments[:, 1] - segments[:, 0]), scores[labels == NORMAL])


def best_pa_k_f1(scores: np.ndarray, labels: np.ndarray, percent: float) -> Best:
    """Find the best PA%K F1.

    Raises:
        ValueError: ``percent`` is outside 0..100.
    """
    scores = _without_nan(scores, labels)
    return _best(_raised(scores, labels, [percent])[0], scores[labels == NORMAL])


def best_composite_f1(scores: np.ndarray, labels: np.ndarray) -> Best:
    """Find the best Fc1: precision over samples, recall over segments."""
    scores = _without_nan(scores, labels)
    anomalous = np.sort(scores[labels == ANOMALY])
    segments = intervals(labels == ANOMALY)
    if len(segments) == 0:
        return NOTHING_TO_FIND
    peaks = np.sort(_peaks(scores, segments))
    cuts = np.unique(anomalous[anomalous > -np.inf])
    true, found = _at_least(anomalous, cuts), _at_least(peaks, cuts)
    raised = true + _at_least(np.sort(scores[labels == NORMAL]), cuts)
    return _lowest_best(_harmonic(true / raised, found / len(segments)), cuts)


def pa_k_curve(scores: np.ndarray, labels: np.ndarray, percents: Sequence[float] = tuple(range(101))) -> np.ndarray:
    """Find the best PA%K F1 at each K, float64 [K], choosing a threshold for each.

    It falls as K grows.
    """
    scores = _without_nan(scores, labels)
    normal = np.sort(scores[labels == NORMAL])
    return np.array([_best(raised, normal, ordered=True).f1 for raised in _raised(scores, labels, percents)])


def pa_k_area(scores: np.ndarray, labels: np.ndarray) -> float:
    """Compute the area under the best PA%K F1 over K = 0..100 by trapezoids.

    K is a share, so 1 is perfect.
    """
    return float(np.trapezoid(pa_k_curve(scores, labels), dx=0.01))


def best_event_f1(scores: np.ndarray, labels: np.ndarray, merge_steps: int, *, max_alarm_share: float = 1.0) -> Best:
    """Find the best event F1 of pages merged by ``merge_steps``, as ``event_counts`` counts.

    An alarm that never ends is one page and hits every incident: without ``max_alarm_share``, the largest share of
    labelled steps that may be alarmed, even a random score reaches 1.

    False pages are counted by their first sample. At threshold q sample x starts a page iff s_x >= q > M_x, the
    maximum of the w = max(merge_steps, 1) samples before it. The page reaches place p > x iff every w samples that
    begin in x+1..p hold an alarm, so iff q is at most the minimum of their maxima. It is false iff it does not reach
    the next incident and, when x is unlabelled, reaches the next normal sample: each x is false for one interval of q.

    Raises:
        ValueError: ``max_alarm_share`` is outside 0..1.
    """
    if not 0 <= max_alarm_share <= 1:
        raise ValueError(f"a share lies in 0..1, not {max_alarm_share}")
    scores = _without_nan(scores, labels)
    incidents = intervals(labels == ANOMALY)
    if len(incidents) == 0:
        return NOTHING_TO_FIND
    width = max(merge_steps, 1)
    quiet = np.full(width, -np.inf)
    ahead = np.lib.stride_tricks.sliding_window_view(np.concatenate([scores, quiet]), width).max(axis=1)
    behind = np.lib.stride_tricks.sliding_window_view(np.concatenate([quiet, scores]), width).max(axis=1)[:-1]

    lower = np.maximum(behind, _reach(ahead, labels == ANOMALY))
    upper = np.where(labels == UNLABELLED, np.minimum(scores, _reach(ahead, labels != UNLABELLED)), scores)
    page = (labels != ANOMALY) & (upper > lower)
    lower, upper = np.sort(lower[page]), np.sort(upper[page])

    hit = np.sort([_hit_threshold(scores, start, end, width) for start, end in incidents])
    cuts = np.unique(np.concatenate([hit, upper, lower]))
    labelled = np.sort(scores[labels != UNLABELLED])
    cuts = cuts[(cuts > -np.inf) & (_at_least(labelled, cuts) <= max_alarm_share * len(labelled))]
    hits, false = _at_least(hit, cuts), _at_least(upper, cuts) - _at_least(lower, cuts)
    return _lowest_best(2 * hits / (hits + false + len(incidents)), cuts)


def _without_nan(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != np.shape(labels):
        raise ValueError(f"scores {scores.shape} and labels {np.shape(labels)} must be one series each, equally long")
    return np.where(np.isnan(scores), -np.inf, scores)


def _at_least(ordered: np.ndarray, cuts: np.ndarray) -> Ints:
    counts: Ints = len(ordered) - np.searchsorted(ordered, cuts, side="left")
    return counts


def _harmonic(left: np.ndarray, right: np.ndarray) -> Floats:
    mean: Floats = np.zeros(len(left))
    np.divide(2 * left * right, left + right, out=mean, where=left + right > 0)
    return mean


def _lowest_best(f1: np.ndarray, cuts: np.ndarray) -> Best:
    """Take the best F1 at its lowest threshold: ``cuts`` ascend, and argmax takes the first."""
    if len(cuts) == 0:
        return Best(0.0, float("inf"))
    best = int(np.argmax(f1))
    return Best(float(f1[best]), float(cuts[best]))


def _best(anomalous: np.ndarray, normal: np.ndarray, ordered: bool = False) -> Best:
    """Find the best F1 of samples.

    Only anomalous scores can be best, as only false alarms change between them.
    """
    if len(anomalous) == 0:
        return NOTHING_TO_FIND
    normal = normal if ordered else np.sort(normal)
    anomalous = np.sort(anomalous)
    cuts = anomalous[np.append(True, anomalous[1:] != anomalous[:-1])]
    cuts = cuts[cuts > -np.inf]
    true, false = _at_least(anomalous, cuts), _at_least(normal, cuts)
    return _lowest_best(2 * true / (true + false + len(anomalous)), cuts)


def _peaks(scores: np.ndarray, segments: np.ndarray) -> np.ndarray:
    return np.maximum.reduceat(np.append(scores, -np.inf), segments.ravel())[::2]


def _raised(scores: np.ndarray, labels: np.ndarray, percents: Sequence[float]) -> np.ndarray:
    """Raise the scores of anomalous samples to where their segment is credited, float64 [K, A]."""
    if not all(0 <= percent <= 100 for percent in percents):
        raise ValueError(f"K is a percentage, not {percents}")
    segments = intervals(labels == ANOMALY)
    lengths = segments[:, 1] - segments[:, 0]
    anomalous, owner = scores[labels == ANOMALY], np.repeat(np.arange(len(segments)), lengths)
    descending = np.append(anomalous[np.lexsort((-anomalous, owner))], -np.inf)
    begins = np.cumsum(lengths) - lengths
    raised = np.empty((len(percents), len(anomalous)))
    for row, percent in enumerate(percents):
        needed = needed_alarms(lengths, percent)
        credit = np.where(needed <= lengths, descending[np.minimum(begins + needed - 1, len(anomalous))], -np.inf)
        raised[row] = np.maximum(anomalous, credit[owner])
    return raised


def _reach(ahead: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Find the highest threshold at which a page from x reaches the next p > x in ``goal``.

    ``ahead[y]`` is the maximum of the samples of the window that begins at y; -inf where no goal follows.
    """
    reach = np.full(len(goal), -np.inf)
    before = 0
    for start, end in intervals(goal):
        # Minimum of ahead[x+1..start] for x in before..start-1.
        reach[before:start] = np.minimum.accumulate(ahead[start:before:-1])[::-1]
        before = end
    return reach


def _hit_threshold(scores: np.ndarray, start: int, end: int, width: int) -> float:
    """Find the highest threshold that hits [start, end).

    A hit is an alarm inside, or two alarms that merge across it.
    """
    highest = float(scores[start:end].max())
    first = max(end - width, 0)
    if first < start and end < len(scores):
        after = np.maximum.accumulate(scores[end : start + width])
        places = np.arange(first, start)
        beyond = np.minimum(places + width - end, len(after) - 1)
        highest = max(highest, float(np.minimum(scores[places], after[beyond]).max()))
    return highest
