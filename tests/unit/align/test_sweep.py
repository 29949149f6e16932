"""Counts at every threshold in one pass, against the measures at each threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.align.sweep import alarm_levels, sweep
from fleetalign.contracts.feedback import intervals
from fleetalign.evaluate.measures import event_counts, pages, touches

FEW_VALUES = st.integers(0, 8)
"""Few different values make ties, between samples and with thresholds."""


@st.composite
def scenes(draw):
    length = draw(st.integers(1, 60))
    margins = np.array(draw(st.lists(st.one_of(FEW_VALUES, st.just(np.nan)), min_size=length, max_size=length)))
    thresholds = np.array(sorted(draw(st.lists(FEW_VALUES, min_size=1, max_size=8)), reverse=True))
    mask = st.lists(st.booleans(), min_size=length, max_size=length)
    sparse = st.lists(st.integers(0, length - 1), max_size=6).map(lambda at: np.isin(np.arange(length), at))
    incident = draw(st.one_of(mask.map(np.array), sparse))
    judged = draw(st.one_of(mask.map(np.array), sparse, st.just(np.ones(length, dtype=bool))))
    return margins.astype(np.float32), thresholds.astype(np.float32), incident, judged, draw(st.integers(1, 5))


def assert_equal_to_the_measures(margins, thresholds, incident, judged, merge_steps):
    incidents, judged_spans = intervals(incident), intervals(judged)
    found = sweep(alarm_levels(margins, thresholds), len(thresholds), incidents, judged_spans, merge_steps)
    for k, threshold in enumerate(thresholds):
        alarms = margins > threshold
        runs = pages(alarms, merge_steps)
        false = ~touches(runs, incidents)
        assert found.pages[k] == len(runs)
        np.testing.assert_array_equal(found.hits[k], touches(incidents, runs))
        assert found.false_pages[k] == false.sum()
        assert found.false_judged[k] == (false & touches(runs, judged_spans)).sum()
        counts = event_counts(alarms, incidents, merge_steps)
        assert (found.hits[k].sum(), found.false_pages[k]) == (counts.hits, counts.false_pages)
        # What operators called an incident they also labelled.
        labelled = judged | incident
        either = sweep(alarm_levels(margins, thresholds), len(thresholds), incidents, intervals(labelled), merge_steps)
        assert either.false_judged[k] == event_counts(alarms, incidents, merge_steps, labelled).false_pages


@settings(max_examples=200)
@given(scenes())
def test_the_counts_of_every_threshold_are_those_of_the_measures(scene):
    assert_equal_to_the_measures(*scene)


def mask(length: int, *pairs: tuple[int, int]) -> np.ndarray:
    at = np.arange(length)
    return np.any([(at >= a) & (at < b) for a, b in pairs] or [np.zeros(length, dtype=bool)], axis=0)


@pytest.mark.parametrize("merge_steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("alarms", "incidents"),
    [
        ([10, 13], [(11, 12)]),  # inside the gap of a merged page
        ([10, 13], [(11, 13)]),
        ([10, 15], [(12, 13)]),
        ([10, 12, 16], [(14, 15)]),
        ([0, 19], [(0, 3), (17, 20)]),  # at the edges
        ([0, 19], [(1, 3), (17, 19)]),  # just beside the edges
        ([5], [(6, 9)]),  # ends where the incident begins
        ([9], [(6, 9)]),  # begins where it ends
        ([], [(3, 5)]),
        (list(range(20)), [(3, 5), (6, 7)]),  # one page over two incidents
    ],
)
def test_corners(merge_steps, alarms, incidents):
    margins = np.zeros(20, dtype=np.float32)
    margins[alarms] = 1.0 + np.arange(len(alarms)) % 3
    thresholds = np.array([2.5, 1.5, 0.5, 0.0, -1.0], dtype=np.float32)
    for judged in (mask(20), mask(20, (0, 20)), mask(20, (0, 4)), mask(20, (11, 12), (17, 19))):
        assert_equal_to_the_measures(margins, thresholds, mask(20, *incidents), judged, merge_steps)


def test_a_level_is_the_first_threshold_that_is_exceeded_and_equal_is_no_alarm():
    thresholds = np.array([3.0, 2.0, 2.0, 1.0], dtype=np.float32)
    margins = np.array([4.0, 3.0, 2.0, 1.5, 1.0, np.nan, np.inf, -np.inf], dtype=np.float32)
    assert alarm_levels(margins, thresholds).tolist() == [0, 1, 3, 3, 4, 4, 0, 4]
    np.testing.assert_array_equal(
        alarm_levels(margins, thresholds)[:, None] <= np.arange(4), margins[:, None] > thresholds
    )
