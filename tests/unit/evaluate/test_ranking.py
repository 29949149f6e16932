from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.contracts.feedback import intervals
from fleetalign.evaluate.measures import average_precision, range_aucs, range_pr_auc, vus_pr, vus_roc

BUFFERS = [0, 1, 2, 3, 4, 7, 12]


@st.composite
def series(draw: st.DrawFn, unlabelled: bool = True, silent: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Few distinct scores, so that ties are common; labels in runs; some of the scores NaN."""
    runs = draw(
        st.lists(
            st.tuples(st.sampled_from([1, 0, 0, -1][: 4 if unlabelled else 3]), st.integers(1, 6)),
            min_size=1,
            max_size=9,
        )
    )
    labels = np.concatenate([np.full(length, label, dtype=np.int8) for label, length in runs])
    values = [0.0, 0.25, 0.5, 0.75, 1.0, *([float("nan")] if silent else [])]
    scores = draw(st.lists(st.sampled_from(values), min_size=len(labels), max_size=len(labels)))
    return np.array(scores), labels


def brute_range_aucs(scores: np.ndarray, labels: np.ndarray, length: int) -> tuple[float, float]:
    """The definition, step by step: pieces of labelled time softened on their own, then every threshold."""
    soft, incidents, hard, said = [], [], [], []
    for start, end in intervals(labels != -1):
        piece = labels[start:end] == 1
        weights = piece.astype(float)
        for a, b in intervals(piece) if length > 1 else []:
            for x in range(len(piece)):
                if 0 < x - (b - 1) <= length // 2 - 1:
                    weights[x] += np.sqrt(1 - (x - (b - 1)) / length)
                if 0 < a - x <= length // 2:
                    weights[x] += np.sqrt(1 - (a - x) / length)
        weights = np.minimum(weights, 1)
        incidents += [(a + len(hard), b + len(hard)) for a, b in intervals(weights > 0)]
        soft, hard, said = [*soft, *weights], [*hard, *piece], [*said, *scores[start:end]]
    soft, hard, said = np.array(soft), np.array(hard), np.array(said)
    ranked = np.sort(said[~np.isnan(said)])[::-1]
    positives = (hard.sum() + soft.sum()) / 2
    recall, false, precision = [0.0], [0.0], [1.0]
    for index in np.linspace(0, len(ranked) - 1, 250).astype(int):
        alarms = said >= ranked[index]
        true = soft[alarms].sum()
        exist = np.mean([alarms[a:b].any() for a, b in incidents])
        recall.append(min(true / positives, 1) * exist)
        precision.append(true / alarms.sum())
        false.append(min((alarms.sum() - true) / (len(said) - positives), 1))
    pr = sum((recall[i] - recall[i - 1]) * (precision[i] + precision[i - 1]) / 2 for i in range(1, len(recall)))
    recall.append(1.0)
    false.append(1.0)
    roc = sum((false[i] - false[i - 1]) * (recall[i] + recall[i - 1]) / 2 for i in range(1, len(false)))
    return pr, roc


def defined(scores: np.ndarray, labels: np.ndarray) -> bool:
    said = scores[(labels != -1) & ~np.isnan(scores)]
    return bool((labels == 1).any() and (labels == 0).any() and len(np.unique(said)) > 1)


@settings(max_examples=150)
@given(series())
def test_range_aucs_are_their_definition(both: tuple[np.ndarray, np.ndarray]) -> None:
    pr, roc = range_aucs(*both, BUFFERS)
    if defined(*both):
        np.testing.assert_allclose(np.stack([pr, roc], 1), [brute_range_aucs(*both, b) for b in BUFFERS], atol=1e-12)


@given(series(), st.integers(0, 12))
def test_vus_is_the_mean_over_buffer_lengths(both: tuple[np.ndarray, np.ndarray], buffer: int) -> None:
    pr, roc = range_aucs(*both, range(buffer + 1))
    np.testing.assert_allclose([vus_pr(*both, buffer), vus_roc(*both, buffer)], [pr.mean(), roc.mean()])
    assert vus_pr(*both, buffer, buffers=[buffer]) == pytest.approx(range_pr_auc(*both, buffer), nan_ok=True)


@given(series())
def test_only_the_order_of_scores_counts(both: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = both
    for measure in (average_precision, vus_pr, vus_roc):
        assert measure(np.exp(3 * scores) - 7, labels) == pytest.approx(measure(scores, labels), nan_ok=True)


@given(series(), st.integers(2, 4), st.floats(0, 1))
def test_unlabelled_time_changes_nothing(both: tuple[np.ndarray, np.ndarray], times: int, score: float) -> None:
    scores, labels = both
    counts = np.where(labels == -1, times, 1)
    more = np.where(labels == -1, score, scores)
    for measure in (average_precision, vus_pr, vus_roc):
        found = measure(np.repeat(more, counts), np.repeat(labels, counts))
        assert found == pytest.approx(measure(scores, labels), nan_ok=True)


@given(series(silent=False))
def test_perfect_is_one_and_silent_or_constant_is_zero(both: tuple[np.ndarray, np.ndarray]) -> None:
    labels = both[1]
    if not ((labels == 1).any() and (labels == 0).any()):
        return
    perfect, silent = (labels == 1).astype(float), np.full(len(labels), np.nan)
    assert average_precision(perfect, labels) == vus_pr(perfect, labels, 0) == vus_roc(perfect, labels, 0) == 1
    for measure in (average_precision, vus_pr, vus_roc):
        assert measure(silent, labels) == 0
    assert vus_pr(np.ones(len(labels)), labels) == vus_roc(np.ones(len(labels)), labels) == 0


@given(series())
def test_average_precision_is_its_definition(both: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = both
    if not (labels == 1).any():
        assert np.isnan(average_precision(scores, labels))
        return
    total, before = 0.0, 0.0
    for cut in np.unique(scores[(labels != -1) & ~np.isnan(scores)])[::-1]:
        alarms = (scores >= cut) & (labels != -1)
        recall = (labels[alarms] == 1).sum() / (labels == 1).sum()
        total += (recall - before) * (labels[alarms] == 1).mean()
        before = recall
    assert average_precision(scores, labels) == pytest.approx(total)


def test_undefined_without_anomalies_and_refused_for_unequal_shapes() -> None:
    assert np.isnan(vus_pr(np.arange(5.0), np.zeros(5, dtype=np.int8)))
    assert np.isnan(vus_roc(np.arange(5.0), np.ones(5, dtype=np.int8)))
    with pytest.raises(ValueError, match="equally long"):
        vus_pr(np.arange(5.0), np.zeros(4, dtype=np.int8))
    with pytest.raises(ValueError, match="not negative"):
        range_aucs(np.arange(5.0), np.ones(5, dtype=np.int8), [-1])


def test_a_day_of_12_second_samples_takes_a_few_milliseconds() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(7200, dtype=np.int8)
    for start in rng.integers(0, 7100, 12):
        labels[start : start + 60] = 1
    scores = rng.random(7200) + 0.3 * labels
    took = []
    for _ in range(5):
        started = time.perf_counter()
        vus_pr(scores, labels)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.15
