"""How far apart the samples of an entity are, as a rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.slots import samples_apart, samples_apart_each


@pytest.mark.parametrize(
    ("slots", "apart"),
    [([], 1), ([4], 1), ([0, 9], 1), ([0, 5, 10], 5), ([0, 1, 2, 50, 51], 1), ([0, 5, 10, 11, 15, 20], 5)],
)
def test_it_is_the_usual_distance(slots: list[int], apart: int) -> None:
    assert samples_apart(np.array(slots, dtype=np.int64)) == apart


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1))
def test_each_group_is_found_as_if_alone(rows: list[tuple[int, int]]) -> None:
    groups = np.unique([group for group, _ in rows], return_inverse=True)[1]
    slots = np.array([slot for _, slot in rows])
    alone = [samples_apart(np.unique(slots[groups == g])) for g in range(groups.max() + 1)]
    assert samples_apart_each(groups, slots).tolist() == alone
