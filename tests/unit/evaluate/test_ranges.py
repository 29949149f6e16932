from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.contracts.feedback import intervals
from fleetalign.evaluate.measures import affiliation, range_precision_recall

series = st.lists(
    st.tuples(st.sampled_from([1, 0, -1]), st.booleans(), st.integers(1, 5)), min_size=1, max_size=12
).map(
    lambda runs: (
        np.concatenate([np.full(n, alarm) for _, alarm, n in runs]),
        np.concatenate([np.full(n, label, dtype=np.int8) for label, _, n in runs]),
    )
)
BIASES = ("flat", "front", "middle", "back")


def weight(bias: str, i: int, n: int) -> float:
    return {"flat": 1, "front": n - i + 1, "middle": i if i <= n / 2 else n - i + 1, "back": i}[bias]


def reward(one: tuple[int, int], others: np.ndarray, alpha: float, cardinality: str, bias: str) -> float:
    start, end = one
    hit = [other for other in others if other[0] < end and start < other[1]]
    if not hit:
        return 0.0
    n = end - start
    covered = {x for a, b in hit for x in range(max(a, start), min(b, end))}
    share = sum(weight(bias, x - start + 1, n) for x in covered) / sum(weight(bias, i, n) for i in range(1, n + 1))
    return alpha + (1 - alpha) * share * (1 / len(hit) if cardinality == "reciprocal" else 1)


@settings(max_examples=200)
@given(
    series,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from(["one", "reciprocal"]),
    st.sampled_from(BIASES),
    st.sampled_from(BIASES),
)
def test_range_measures_are_their_definition(
    both: tuple[np.ndarray, np.ndarray], alpha: float, cardinality: str, precision_bias: str, recall_bias: str
) -> None:
    alarms, labels = both
    true, raised = intervals(labels == 1), intervals(alarms & (labels != -1))
    found = range_precision_recall(
        alarms, labels, alpha=alpha, cardinality=cardinality, precision_bias=precision_bias, recall_bias=recall_bias
    )
    precision = [reward(r, true, 0, cardinality, precision_bias) for r in raised]
    recall = [reward(t, raised, alpha, cardinality, recall_bias) for t in true]
    assert found.precision == pytest.approx(np.mean(precision) if precision else np.nan, nan_ok=True)
    assert found.recall == pytest.approx(np.mean(recall) if recall else np.nan, nan_ok=True)


def brute_affiliation(alarms: np.ndarray, labels: np.ndarray, parts: int) -> tuple[float, float]:
    """Riemann sums over instants in the middle of ``parts`` slices of each step."""
    pieces = [(a, b) for a, b in intervals(labels == 1)]
    offset = np.concatenate(([0], np.cumsum(labels != -1)))
    incidents = [(offset[a], offset[b]) for a, b in pieces]
    said = np.repeat(alarms[labels != -1], parts)
    instants = (np.arange(len(said)) + 0.5) / parts
    cuts = [0.0, *((b + c) / 2 for (_, b), (c, _) in itertools.pairwise(incidents)), len(said) / parts]
    precision, recall = [], []
    for (a, b), low, high in zip(incidents, cuts[:-1], cuts[1:], strict=True):
        zone = (instants > low) & (instants < high)
        away = np.maximum(np.maximum(a - instants, instants - b), 0)
        raised = zone & said
        if raised.any():
            precision.append(np.mean([(away[zone] >= away[x]).mean() for x in np.flatnonzero(raised)]))
        inside = instants[zone & (away == 0)]
        nearest = [np.abs(instants[raised] - y).min() if raised.any() else np.inf for y in inside]
        recall.append(np.mean([(np.abs(instants[zone] - y) >= d).mean() for y, d in zip(inside, nearest, strict=True)]))
    return float(np.mean(precision)) if precision else float("nan"), float(np.mean(recall))


@settings(max_examples=60)
@given(series)
def test_affiliation_is_the_limit_of_its_sums(both: tuple[np.ndarray, np.ndarray]) -> None:
    alarms, labels = both
    if not (labels == 1).any():
        assert np.isnan(affiliation(alarms, labels).recall)
        return
    found = affiliation(alarms, labels)
    precision, recall = brute_affiliation(alarms, labels, 40)
    assert found.precision == pytest.approx(precision, abs=0.03, nan_ok=True)
    assert found.recall == pytest.approx(recall, abs=0.03)


def test_affiliation_of_the_papers_example() -> None:
    """Figures the authors give for the second of three incidents, in seconds over three hours (KDD 2022, figure 5)."""
    labels, alarms = np.zeros(180 * 60, np.int8), np.zeros(180 * 60, bool)
    for start, end in ((0, 10), (50, 70), (170, 175)):
        labels[start * 60 : end * 60] = 1
    second = slice(30 * 60, 120 * 60)
    for start, end in ((5, 6), (7, 10), (11, 12), (40, 60), (115, 130), (135, 140), (165, 170)):
        alarms[start * 60 : end * 60] = True
    found = affiliation(alarms[second], labels[second])
    assert found.precision == pytest.approx(0.672222222)
    assert found.recall == pytest.approx(0.944444444)


@given(series)
def test_perfect_is_one_and_silence_is_zero(both: tuple[np.ndarray, np.ndarray]) -> None:
    labels = both[1]
    if not (labels == 1).any():
        return
    for measure in (
        affiliation,
        range_precision_recall,
        lambda a, y: range_precision_recall(a, y, alpha=0.5, cardinality="reciprocal", recall_bias="front"),
    ):
        perfect, silent = measure(labels == 1, labels), measure(np.zeros(len(labels), bool), labels)
        assert (perfect.precision, perfect.recall, perfect.f1) == pytest.approx((1, 1, 1))
        assert np.isnan(silent.precision) and silent.recall == silent.f1 == 0


@given(series, st.integers(2, 4), st.booleans())
def test_unlabelled_time_changes_nothing(both: tuple[np.ndarray, np.ndarray], times: int, alarm: bool) -> None:
    alarms, labels = both
    counts = np.where(labels == -1, times, 1)
    longer = np.repeat(np.where(labels == -1, alarm, alarms), counts), np.repeat(labels, counts)
    for measure in (affiliation, range_precision_recall):
        here, there = measure(*both), measure(*longer)
        assert (there.precision, there.recall) == pytest.approx((here.precision, here.recall), nan_ok=True)


def test_affiliation_of_random_alarms_is_about_one_half() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(20_000, np.int8)
    for start in range(500, 20_000, 1000):
        labels[start : start + 20] = 1
    assert affiliation(rng.random(20_000) < 0.01, labels).precision == pytest.approx(0.5, abs=0.05)


def test_impossible_settings_are_refused() -> None:
    alarms, labels = np.zeros(3, bool), np.zeros(3, np.int8)
    for settings_ in ({"alpha": 2}, {"cardinality": "two"}, {"precision_bias": "side"}, {"recall_bias": "side"}):
        with pytest.raises(ValueError):
            range_precision_recall(alarms, labels, **settings_)
    for measure in (affiliation, range_precision_recall):
        with pytest.raises(ValueError, match="equally long"):
            measure(alarms, labels[:2])
