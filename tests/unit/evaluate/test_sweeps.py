"""Every sweep against all thresholds tried one by one, on the counts of the measure it sweeps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.contracts.feedback import intervals
from fleetalign.evaluate.measures import (
    best_composite_f1,
    best_delay_limited_f1,
    best_event_f1,
    best_pa_k_f1,
    best_point_adjusted_f1,
    best_point_f1,
    composite,
    delay_limited_counts,
    event_counts,
    pa_k_area,
    pa_k_counts,
    pa_k_curve,
    point_adjusted_counts,
    point_counts,
)

SCORES = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, float("nan")]


@st.composite
def series(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    runs = draw(st.lists(st.tuples(st.sampled_from([1, 0, 0, -1]), st.integers(1, 5)), min_size=1, max_size=9))
    labels = np.concatenate([np.full(length, label, dtype=np.int8) for label, length in runs])
    return np.array(draw(st.lists(st.sampled_from(SCORES), min_size=len(labels), max_size=len(labels)))), labels


def event_f1(alarms: np.ndarray, labels: np.ndarray, merge_steps: int) -> float:
    return event_counts(alarms, intervals(labels == 1), merge_steps, labels != -1).f1


def brute(scores: np.ndarray, f1: Callable[[np.ndarray], float]) -> float:
    return max([f1(scores >= cut) for cut in np.unique(scores[~np.isnan(scores)])], default=0.0)


PAIRS = {
    "point": (best_point_f1, lambda a, y: point_counts(a, y).f1),
    "point_adjusted": (best_point_adjusted_f1, lambda a, y: point_adjusted_counts(a, y).f1),
    "composite": (best_composite_f1, lambda a, y: composite(a, y).f1),
    **{
        f"pa_{k}": (lambda s, y, k=k: best_pa_k_f1(s, y, k), lambda a, y, k=k: pa_k_counts(a, y, k).f1)
        for k in (0, 20, 33.3, 50, 99, 100)
    },
    **{
        f"delay_{k}": (
            lambda s, y, k=k: best_delay_limited_f1(s, y, k),
            lambda a, y, k=k: delay_limited_counts(a, y, k).f1,
        )
        for k in (0, 1, 3)
    },
    **{
        f"event_{m}": (lambda s, y, m=m: best_event_f1(s, y, m), lambda a, y, m=m: event_f1(a, y, m))
        for m in (0, 1, 2, 3, 5, 8)
    },
}


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=150)
@given(series())
def test_a_sweep_finds_what_trying_every_threshold_finds(name: str, both: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = both
    sweep, f1 = PAIRS[name]
    best = sweep(scores, labels)
    if not (labels == 1).any():
        assert np.isnan(best.f1) and best.threshold == np.inf
        return
    assert best.f1 == pytest.approx(brute(scores, lambda alarms: f1(alarms, labels)))
    assert f1(scores >= best.threshold, labels) == pytest.approx(best.f1)


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=40)
@given(series())
def test_order_alone_counts_perfect_is_one_and_silence_zero(name: str, both: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = both
    sweep, _ = PAIRS[name]
    assert sweep(np.exp(scores), labels).f1 == pytest.approx(sweep(scores, labels).f1, nan_ok=True)
    if (labels == 1).any():
        assert sweep((labels == 1).astype(float), labels).f1 == 1
        assert sweep(np.full(len(labels), np.nan), labels).f1 == 0


@given(series())
def test_pa_k_falls_with_k_and_its_area_lies_between(both: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = both
    if not (labels == 1).any():
        assert np.isnan(pa_k_area(scores, labels))
        return
    curve = pa_k_curve(scores, labels)
    assert (np.diff(curve) <= 1e-12).all()
    assert curve[[0, 50, 100]] == pytest.approx([best_pa_k_f1(scores, labels, k).f1 for k in (0, 50, 100)])
    assert curve[100] - 1e-12 <= pa_k_area(scores, labels) <= curve[0] + 1e-12
    assert pa_k_area((labels == 1).astype(float), labels) == pytest.approx(1)


@given(series(), st.integers(0, 4))
def test_a_longer_delay_never_lowers_the_best(both: tuple[np.ndarray, np.ndarray], delay: int) -> None:
    if (both[1] == 1).any():
        assert best_delay_limited_f1(*both, delay).f1 <= best_delay_limited_f1(*both, delay + 1).f1 + 1e-12


@given(series(), st.integers(2, 4))
def test_unlabelled_time_changes_no_point_sweep(both: tuple[np.ndarray, np.ndarray], times: int) -> None:
    scores, labels = both
    counts = np.where(labels == -1, times, 1)
    for name in ("point", "point_adjusted", "composite", "pa_50", "delay_1", "event_0"):
        found = PAIRS[name][0](np.repeat(scores, counts), np.repeat(labels, counts))
        assert found.f1 == pytest.approx(PAIRS[name][0](scores, labels).f1, nan_ok=True)
    np.testing.assert_allclose(
        pa_k_curve(np.repeat(scores, counts), np.repeat(labels, counts)), pa_k_curve(scores, labels)
    )


@settings(max_examples=150)
@given(series(), st.sampled_from([0, 0.1, 0.25, 0.5]), st.integers(0, 4))
def test_event_sweep_within_a_share_of_alarms(
    both: tuple[np.ndarray, np.ndarray], share: float, merge_steps: int
) -> None:
    scores, labels = both
    if (labels == 1).any():

        def f1(alarms: np.ndarray) -> float:
            allowed = alarms[labels != -1].mean() <= share
            return event_f1(alarms, labels, merge_steps) if allowed else 0.0

        best = best_event_f1(scores, labels, merge_steps, max_alarm_share=share)
        assert best.f1 == pytest.approx(brute(scores, f1))
        assert f1(scores >= best.threshold) == pytest.approx(best.f1)


def test_an_alarm_that_never_ends_is_one_page() -> None:
    scores, labels = np.random.default_rng(0).random(500), np.zeros(500, np.int8)
    labels[100:110] = labels[300:310] = 1
    assert best_event_f1(scores, labels, 1).f1 == 1
    assert best_event_f1(scores, labels, 1, max_alarm_share=0.05).f1 <= 0.5


def test_impossible_settings_are_refused() -> None:
    scores, labels = np.zeros(3), np.zeros(3, np.int8)
    for call in (
        lambda: best_pa_k_f1(scores, labels, -1),
        lambda: best_delay_limited_f1(scores, labels, -1),
        lambda: best_event_f1(scores, labels[:2], 1),
        lambda: best_event_f1(scores, labels, 1, max_alarm_share=2),
    ):
        with pytest.raises(ValueError):
            call()
