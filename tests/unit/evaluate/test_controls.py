from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.feedback import intervals
from fleetalign.evaluate.controls import random_alarms, shift_offsets, shifted, uniform_scores


def test_uniform_scores_depend_on_entity_kind_and_seed_only() -> None:
    same = uniform_scores("service", "a", 1, 1000)
    assert np.array_equal(same, uniform_scores("service", "a", 1, 1000))
    for other in (("service", "b", 1), ("database", "a", 1), ("service", "a", 2)):
        assert not np.array_equal(same, uniform_scores(*other, 1000))
    assert abs(same.mean() - 0.5) < 0.05 and same.min() >= 0 and same.max() < 1


def test_kind_and_entity_cannot_be_confused() -> None:
    assert not np.array_equal(uniform_scores("ab", "c", 1, 8), uniform_scores("a", "bc", 1, 8))


def test_random_alarms_keep_the_aligners_rate_and_need_a_score() -> None:
    scored = np.arange(100_000) % 2 == 0
    alarms = random_alarms("service", "a", 1, scored, 0.02)
    assert not alarms[~scored].any()
    assert abs(alarms[scored].mean() - 0.02) < 0.003
    assert not random_alarms("service", "a", 1, scored, 0.0).any()


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(1, 40))
def test_a_shift_keeps_the_rate_and_all_but_one_run(alarms: list[bool], seeds: int) -> None:
    mask = np.array(alarms)
    for offset in shift_offsets("service", "a", seeds, len(mask)):
        assert 1 <= offset < len(mask)
        moved = shifted(mask, offset)
        assert moved.sum() == mask.sum()
        assert abs(len(intervals(moved)) - len(intervals(mask))) <= 1
        assert np.array_equal(shifted(moved, -offset), mask)


def test_offsets_of_a_single_sample_are_no_shift() -> None:
    assert shift_offsets("service", "a", 3, 1).tolist() == [0, 0, 0]
