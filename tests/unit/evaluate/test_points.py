from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.feedback import intervals
from fleetalign.evaluate.measures import (
    PrecisionRecall,
    composite,
    delay_limited_counts,
    detection_delays,
    event_counts,
    false_pages_per_entity_day,
    pa_k_counts,
    point_adjusted_counts,
    point_counts,
)

series = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
        st.lists(st.sampled_from([1, 1, 0, -1]), min_size=n, max_size=n).map(lambda v: np.array(v, dtype=np.int8)),
    )
)


@given(series, st.integers(0, 99))
def test_pa_k_runs_from_point_adjusted_to_point_wise(both: tuple[np.ndarray, np.ndarray], percent: int) -> None:
    assert pa_k_counts(*both, 0) == point_adjusted_counts(*both)
    assert pa_k_counts(*both, 100) == point_counts(*both)
    here, stricter = pa_k_counts(*both, percent), pa_k_counts(*both, percent + 1)
    assert here.true >= stricter.true and here.false == stricter.false


@pytest.mark.parametrize(("percent", "true"), [(0, 4), (24, 4), (25, 4), (49, 4), (50, 2), (75, 2)])
def test_pa_k_asks_for_more_than_its_share(percent: float, true: int) -> None:
    assert pa_k_counts(np.array([1, 1, 0, 0, 0], bool), np.array([1, 1, 1, 1, 0], np.int8), percent).true == true


@given(series, st.integers(0, 6))
def test_a_longer_delay_never_finds_less(both: tuple[np.ndarray, np.ndarray], delay: int) -> None:
    alarms, labels = both
    here, later = (delay_limited_counts(alarms, labels, d) for d in (delay, delay + 1))
    assert here.true <= later.true and here.false == later.false
    assert delay_limited_counts(alarms, labels, len(labels)) == point_adjusted_counts(alarms, labels)
    brute = sum(b - a for a, b in intervals(labels == 1) if any(alarms[x] for x in range(a, min(b, a + delay + 1))))
    assert here.true == brute


@given(series)
def test_perfect_is_one_and_silence_finds_nothing(both: tuple[np.ndarray, np.ndarray]) -> None:
    labels = both[1]
    perfect, silent = labels == 1, np.zeros(len(labels), dtype=bool)
    for measure in (composite, lambda a, y: pa_k_counts(a, y, 50), lambda a, y: delay_limited_counts(a, y, 2)):
        if (labels == 1).any():
            assert measure(perfect, labels).f1 == 1
            assert measure(silent, labels).f1 == 0
    if not (labels == 1).any():
        assert np.isnan(composite(perfect, labels).f1)


@given(series, st.integers(2, 4), st.booleans())
def test_unlabelled_time_changes_nothing(both: tuple[np.ndarray, np.ndarray], times: int, alarm: bool) -> None:
    alarms, labels = both
    counts = np.where(labels == -1, times, 1)
    longer = np.repeat(np.where(labels == -1, alarm, alarms), counts), np.repeat(labels, counts)
    for measure in (
        point_counts,
        point_adjusted_counts,
        lambda *x: pa_k_counts(*x, 40),
        lambda *x: delay_limited_counts(*x, 1),
    ):
        assert measure(*longer) == measure(*both)
    assert composite(*longer).f1 == pytest.approx(composite(*both).f1, nan_ok=True)


def test_f_beta_of_precision_and_recall() -> None:
    assert PrecisionRecall(0.5, 1.0).f1 == pytest.approx(2 / 3)
    assert PrecisionRecall(0.5, 1.0).f(2) == pytest.approx(5 * 0.5 / (4 * 0.5 + 1))
    assert PrecisionRecall(float("nan"), 0.0).f1 == 0
    assert np.isnan(PrecisionRecall(0.0, float("nan")).f1)


@given(series, st.integers(0, 5))
def test_delays_agree_with_the_event_counts(both: tuple[np.ndarray, np.ndarray], merge_steps: int) -> None:
    alarms, labels = both
    incidents = intervals(labels == 1)
    delays = detection_delays(alarms, incidents, merge_steps)
    found = event_counts(alarms, incidents, merge_steps)
    assert tuple(delays[~np.isnan(delays)]) == found.delays_steps and np.isnan(delays).sum() == found.missed


def test_false_pages_per_entity_day() -> None:
    assert false_pages_per_entity_day(3, 2 * 288, 300) == 1.5
    assert np.isnan(false_pages_per_entity_day(0, 0, 300))


def test_impossible_settings_are_refused() -> None:
    alarms, labels = np.zeros(3, bool), np.zeros(3, np.int8)
    with pytest.raises(ValueError, match="percentage"):
        pa_k_counts(alarms, labels, 101)
    with pytest.raises(ValueError, match="not possible"):
        delay_limited_counts(alarms, labels, -1)
