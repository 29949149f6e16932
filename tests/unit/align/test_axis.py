"""The axis of an entity: earlier incidents in front of its calibrate range."""

from __future__ import annotations

import numpy as np
import pytest

from fleetalign.align.axis import axis_of


def pairs(*found: tuple[int, int]) -> np.ndarray:
    return np.array(found, dtype=np.int64).reshape(-1, 2)


@pytest.mark.parametrize(
    ("incidents", "steps", "labels", "moved"),
    [
        (pairs(), [10, 11, 12, 13], [0, 1, -1, -1], pairs()),
        (pairs((11, 12)), [10, 11, 12, 13], [0, 1, -1, -1], pairs((1, 2))),
        # Two samples of no score are enough to end a page; where there are fewer between two incidents, there stay fewer.
        (pairs((2, 4), (11, 12)), [2, 3, -1, -1, 10, 11, 12, 13], [1, 1, -1, -1, 0, 1, -1, -1], pairs((0, 2), (5, 6))),
        (
            pairs((2, 4), (5, 6), (9, 10)),
            [2, 3, -1, 5, -1, -1, 9, 10, 11, 12, 13],
            [1, 1, -1, 1, -1, -1, 1, 0, 1, -1, -1],
            pairs((0, 2), (3, 4), (6, 7)),
        ),
        (pairs((8, 12)), [8, 9, 10, 11, 12, 13], [1, 1, 0, 1, -1, -1], pairs((0, 4))),
    ],
    ids=["none", "inside", "one earlier", "close ones", "across the cut"],
)
def test_earlier_incidents_come_first(incidents, steps, labels, moved):
    axis = axis_of(np.array([0, 1, -1, -1], dtype=np.int8), incidents, 10, 2)

    def scored(start, stop):
        return np.arange(start, stop, dtype=np.float32)[None]

    np.testing.assert_array_equal(np.nan_to_num(axis.joined(scored, scored(10, 14)), nan=-1)[0], steps)
    np.testing.assert_array_equal(axis.labels, labels)
    np.testing.assert_array_equal(axis.incidents, moved)
    assert axis.labels.dtype == np.int8
