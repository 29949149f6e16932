from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.evaluate.measures import event_counts, f_beta, pages, point_adjusted_counts, point_counts, touches

masks = st.lists(st.booleans(), max_size=40).map(lambda values: np.array(values, dtype=bool))
pairs = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)] * 2)
)


def mask(text: str) -> np.ndarray:
    return np.array([c == "x" for c in text])


@pytest.mark.parametrize(("merge_steps", "count"), [(0, 3), (1, 3), (2, 2), (3, 2), (4, 1)])
def test_pages_merge_when_fewer_quiet_samples_lie_between(merge_steps: int, count: int) -> None:
    assert len(pages(mask("x.xx...x"), merge_steps)) == count


@given(masks, st.integers(0, 6))
def test_pages_cover_every_alarm_and_are_far_enough_apart(alarms: np.ndarray, merge_steps: int) -> None:
    found = pages(alarms, merge_steps)
    covered = np.zeros(len(alarms), dtype=bool)
    for start, end in found:
        covered[start:end] = True
        assert alarms[start] and alarms[end - 1]
    assert not (alarms & ~covered).any()
    assert (found[1:, 0] - found[:-1, 1] >= max(merge_steps, 1)).all()


@given(pairs)
def test_touching_is_sharing_a_sample(both: tuple[np.ndarray, np.ndarray]) -> None:
    left, right = (pages(side, 1) for side in both)
    brute = [any(a < d and c < b for c, d in right) for a, b in left]
    assert touches(left, right).tolist() == brute


@given(pairs)
def test_perfect_alarms_are_perfect_and_silence_misses_all(both: tuple[np.ndarray, np.ndarray]) -> None:
    incidents = pages(both[0], 1)
    perfect = event_counts(both[0], incidents, 1)
    assert perfect.f1 == 1.0 and perfect.missed == 0 and set(perfect.delays_steps) <= {0}
    silent = event_counts(np.zeros_like(both[0]), incidents, 1)
    assert (silent.hits, silent.missed, silent.false_pages) == (0, len(incidents), 0)
    found = event_counts(both[1], incidents, 1)
    assert found.hits + found.missed == len(incidents)
    for delay in found.delays_steps:
        assert 0 <= delay < len(both[0])


def test_one_page_may_hit_two_incidents() -> None:
    found = event_counts(mask("..xxxxxx.."), np.array([[1, 4], [6, 9]]), 1)
    assert (found.hits, found.false_pages, found.delays_steps) == (2, 0, (1, 0))


def test_f_beta_weighs_recall() -> None:
    assert f_beta(0, 0, 0) == 1.0
    assert f_beta(1, 1, 0) == pytest.approx(2 / 3)
    assert f_beta(1, 1, 0, beta=2) > f_beta(1, 1, 0) > f_beta(1, 1, 0, beta=0.5)


@given(pairs, st.data())
def test_point_counts_ignore_unlabelled_time(both: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    alarms, anomalous = both
    labels = anomalous.astype(np.int8)
    hidden = data.draw(st.lists(st.booleans(), min_size=len(alarms), max_size=len(alarms)).map(np.array))
    labels[hidden] = -1
    found, adjusted = point_counts(alarms, labels), point_adjusted_counts(alarms, labels)
    assert found.true == (alarms & anomalous & ~hidden).sum()
    assert found.false == adjusted.false == (alarms & ~anomalous & ~hidden).sum()
    assert found.true + found.missed == adjusted.true + adjusted.missed
    assert adjusted.true >= found.true
