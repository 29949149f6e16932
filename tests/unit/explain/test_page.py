"""How alike two pages are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.explain.page import likeness

shares = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(np.array)


@given(left=shares, right=shares)
def test_likeness_is_symmetric_and_at_most_one(left, right):
    assert likeness(left, right) == pytest.approx(likeness(right, left))
    assert 0 <= likeness(left, right) <= 1 + 1e-9


def test_the_same_metrics_are_alike_whatever_the_size_and_others_are_not():
    assert likeness(np.array([0.2, 0.1, 0.0]), np.array([0.4, 0.2, 0.0])) == pytest.approx(1)
    assert likeness(np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.5, 0.5])) == 0
    assert likeness(np.zeros(3), np.array([0.0, 0.5, 0.5])) == 0
