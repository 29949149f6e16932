"""Affiliation precision and recall (Huet, Navarro, Rossi, KDD 2022).

Shapes: t time steps, n labelled steps, G incidents, r raised intervals. ``alarms`` bool [t]; ``labels`` int8 [t]: 1
anomaly, 0 normal, -1 unlabelled. Time is cut in one zone per incident, halfway between neighbours. Precision of a zone
is the mean over its alarms of the chance that a uniformly random instant of the zone lies farther from the incident;
recall is the mean over the incident of the chance that a random instant lies farther from it than the nearest alarm.

Unlabelled steps are taken out and the clock runs over labelled steps alone: distances and zones are counted in
labelled steps, so alarms anywhere in labelled time belong to a zone. Anomalies on both sides of one are two incidents.
"""

from __future__ import annotations

import numpy as np

from fleetalign.contracts.arrays import Floats
from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals
from fleetalign.evaluate.points import PrecisionRecall


def affiliation(alarms: np.ndarray, labels: np.ndarray) -> PrecisionRecall:
    """Compute mean precision over the zones with an alarm and mean recall over all zones.

    Steps are intervals [i, i + 1) of continuous time and the integrals are exact. A random score gets about one half
    of each.

    Raises:
        ValueError: The shapes differ.
    """
    if np.shape(alarms) != np.shape(labels):
        raise ValueError(f"alarms {np.shape(alarms)} and labels {np.shape(labels)} must be equally long")
    labelled = labels != UNLABELLED
    place = np.concatenate(([0], np.cumsum(labelled)))
    incidents = place[intervals(labels == ANOMALY)].astype(np.float64)
    if len(incidents) == 0:
        return PrecisionRecall(float("nan"), float("nan"))
    cuts = (incidents[1:, 0] + incidents[:-1, 1]) / 2
    zones = np.stack([np.append(0.0, cuts), np.append(cuts, float(place[-1]))], axis=1)
    raised, zone = _cut(intervals(alarms[labelled]).astype(np.float64), cuts)
    if len(raised) == 0:
        return PrecisionRecall(float("nan"), 0.0)
    return PrecisionRecall(_precision(raised, zone, incidents, zones), _recall(raised, zone, incidents, zones))


def _cut(raised: np.ndarray, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut raised intervals where zones end, float64 [r, 2], with the zone of each, int64 [r]."""
    starts, ends = raised[:, 0], raised[:, 1]
    over = np.searchsorted(starts, cuts, side="left") > np.searchsorted(ends, cuts, side="right")
    starts = np.sort(np.concatenate([starts, cuts[over]]))
    ends = np.sort(np.concatenate([ends, cuts[over]]))
    return np.stack([starts, ends], axis=1), np.searchsorted(cuts, starts, side="right")


def _precision(raised: np.ndarray, zone: np.ndarray, incidents: np.ndarray, zones: np.ndarray) -> float:
    (start, end), (first, last), (a, b) = raised.T, zones[zone].T, incidents[zone].T
    inside = np.maximum(np.minimum(end, b) - np.maximum(start, a), 0)
    before = _farther(np.maximum(a - end, 0), np.maximum(a - start, 0), a - first, last - b, last - first)
    after = _farther(np.maximum(start - b, 0), np.maximum(end - b, 0), a - first, last - b, last - first)
    credit = np.bincount(zone, inside + before + after, len(zones))
    length = np.bincount(zone, end - start, len(zones))
    return float(np.mean(credit[length > 0] / length[length > 0]))


def _farther(near: Floats, far: Floats, left: Floats, right: Floats, zone: Floats) -> Floats:
    """Integrate the chance to be farther over the distances near..far.

    The chance at distance d is the room beyond d on each side, over the zone.
    """
    room_left, room_right = (_beyond(far, side) - _beyond(near, side) for side in (left, right))
    return (room_left + room_right) / zone


def _beyond(distance: Floats, side: Floats) -> Floats:
    """Integrate max(side - d, 0) from 0 to ``distance``."""
    within = np.minimum(distance, side)
    return side * within - within**2 / 2


def _recall(raised: np.ndarray, zone: np.ndarray, incidents: np.ndarray, zones: np.ndarray) -> float:
    start, end = raised.T
    (first, last), (a, b) = zones[zone].T, incidents[zone].T
    with_next = np.append(zone[1:] == zone[:-1], False)
    with_previous = np.append(False, with_next[:-1])
    middle = (np.append(start[1:], 0) + end) / 2
    until = np.where(with_next, middle, last)
    since = np.where(with_previous, np.append(0, middle[:-1]), first)

    inside = np.maximum(np.minimum(end, b) - np.maximum(start, a), 0)
    # Mirrored in time the steps after an alarm are like those before one.
    ahead = _missed(np.maximum(since, a), np.minimum(start, b), start, first)
    behind = _missed(-np.minimum(until, b), -np.maximum(end, a), -end, -last)
    uncovered = np.maximum(np.minimum(start, b) - np.maximum(since, a), 0)
    uncovered += np.maximum(np.minimum(until, b) - np.maximum(end, a), 0)
    credit = np.bincount(zone, inside + uncovered - (ahead + behind) / (last - first), len(zones))
    return float(np.mean(credit / (incidents[:, 1] - incidents[:, 0])))


def _missed(low: Floats, high: Floats, alarm: Floats, edge: Floats) -> Floats:
    """Integrate, over y in low..high, how much of the zone is nearer to y than ``alarm`` > y.

    ``edge`` < y ends it.

    That is (alarm - y) on the alarm's side and min(alarm - y, y - edge) on the other.
    """
    width = alarm - edge

    def nearer(y: Floats) -> Floats:
        from_edge, to_alarm = y - edge, alarm - y
        other: Floats = np.where(2 * from_edge <= width, from_edge**2 / 2, width**2 / 4 - to_alarm**2 / 2)
        return other - to_alarm**2 / 2

    return np.where(high > low, nearer(np.maximum(high, low)) - nearer(low), 0.0)
