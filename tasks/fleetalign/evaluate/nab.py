"""The score of the Numenta Anomaly Benchmark (Lavin and Ahmad, ICMLA 2015).

It rewards early detection in windows and few false alarms.

Shapes: t rows, s series. A window is a run of anomalous labels. The first rows of a series are probation: min(15 % of
its rows, 750) of them are not judged. With sigma(y) = 2 / (1 + exp(5 y)) - 1, a window earns the value of its earliest
alarm, sigma(position) / sigma(-1) where position runs from -1 at its first row towards 0 after its last; a missed one
costs the profile's ``missed``. An alarm outside costs sigma(distance past the last window, in window widths), -1
before any window and from three widths on; that is weighed by the profile's ``false``.

One threshold serves the whole corpus, for each detector and profile. The sum is scaled so that a detector without
alarms has 0 and one that alarms on the first row of each window, and nowhere else, has 100.

Rows without a label are not judged: they earn and cost nothing, but they take their place in the series (positions,
probation) and part windows. NaN (and -inf) scores are never an alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.contracts.feedback import ANOMALY, NORMAL, intervals

PROBATION_SHARE = 0.15
PROBATION_ROWS = 750
FAR = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NabProfile:
    """The weights of the score."""

    true: float = 1.0
    """Gain of a detected window."""
    false: float = 0.11
    """Cost of a false alarm."""
    missed: float = 1.0
    """Cost of a missed window."""


NAB_PROFILES = {
    "standard": NabProfile(),
    "reward_low_FP_rate": NabProfile(false=0.22),
    "reward_low_FN_rate": NabProfile(missed=2.0),
}


@dataclass(frozen=True, slots=True)
class NabScore:
    """The score of a corpus at one threshold."""

    score: float
    """Scaled: 0 without alarms, 100 if perfect; NaN without windows."""
    raw: float
    """The sum of gains and costs."""
    threshold: float
    """An alarm is ``score >= threshold``."""


def scaled_sigmoid(position: np.ndarray) -> np.ndarray:
    """Compute sigma, in (-1, 1); -1 from three window widths on."""
    return np.where(position >= FAR, -1.0, 2 / (1 + np.exp(5 * np.minimum(position, FAR))) - 1)


def nab_score(
    series: Sequence[tuple[np.ndarray, np.ndarray]],
    profile: NabProfile = NAB_PROFILES["standard"],
    threshold: float | None = None,
) -> NabScore:
    """Score a corpus of (scores float [t], labels int8 [t]) at ``threshold`` (None: the best).

    Among equal thresholds the highest is taken; +inf means that no alarm is best.

    Raises:
        ValueError: The shapes of a series differ.
    """
    parts = [_gains(np.asarray(scores, dtype=np.float64), labels, profile) for scores, labels in series]
    num_windows = sum(windows for _, _, windows in parts)
    values = np.concatenate([np.empty(0), *(scores for scores, _, _ in parts)])
    gains = np.concatenate([np.empty(0), *(gain for _, gain, _ in parts)])
    order = np.argsort(-values, kind="stable")
    values = values[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.empty(0, dtype=int)
    null, perfect = -profile.missed * num_windows, profile.true * num_windows
    cuts = np.append(np.inf, values[last])
    raw = null + np.append(0.0, np.cumsum(gains[order])[last])
    if threshold is None:
        best = int(np.argmax(raw))
        threshold = float(cuts[best])
    else:
        best = int(np.searchsorted(-cuts, -threshold, side="right")) - 1
    scaled = 100 * (raw[best] - null) / (perfect - null) if num_windows else float("nan")
    return NabScore(float(scaled), float(raw[best]), threshold)


def _gains(scores: np.ndarray, labels: np.ndarray, profile: NabProfile) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the scores of judged rows, the gain of each, and the number of windows.

    The gain is the change of the sum when the threshold falls to that score.
    """
    if scores.ndim != 1 or scores.shape != np.shape(labels):
        raise ValueError(f"scores {scores.shape} and labels {np.shape(labels)} must be one series each, equally long")
    rows = np.arange(len(scores))
    judged = rows >= min(int(PROBATION_SHARE * len(scores)), PROBATION_ROWS)
    scored = judged & (scores > -np.inf)
    windows = intervals(labels == ANOMALY)
    widths = windows[:, 1] - windows[:, 0]

    outside = np.flatnonzero(scored & (labels == NORMAL))
    past = np.searchsorted(windows[:, 1], outside, side="right") - 1
    position = np.full(len(outside), FAR)
    follows = (past >= 0) & (np.append(widths, 0)[past] > 1)
    position[follows] = (outside[follows] - windows[past[follows], 1] + 1) / (widths[past[follows]] - 1)
    values, gains = [scores[outside]], [profile.false * scaled_sigmoid(position)]

    num_windows = 0
    for (start, end), width in zip(windows, widths, strict=True):
        num_windows += bool(judged[end - 1])
        inside = rows[start:end][scored[start:end]]
        inside = inside[np.argsort(-scores[inside], kind="stable")]
        worth = profile.true * scaled_sigmoid((inside - end) / width) / scaled_sigmoid(np.array(-1.0))
        values.append(scores[inside])
        gains.append(np.diff(np.maximum.accumulate(worth), prepend=-profile.missed))
    return np.concatenate(values), np.concatenate(gains), num_windows
