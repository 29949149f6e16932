"""The tables that alignment reduces: quantiles, hits, controls."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.align.entity import move_truth, seeded_uniform, shifted_counts, tabulate
from fleetalign.align.grid import make_grid, upper_quantiles
from fleetalign.config import AlignConfig
from fleetalign.evaluate.metrics import event_counts, pages, touches

CONFIG = AlignConfig(conditions=(2, 6, 11), tail_probability_count=12)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300), st.floats(1e-4, 0.5))
def test_at_most_a_share_p_exceeds_the_quantile_and_one_step_lower_would_exceed_it(values, p):
    normal = np.array(values, dtype=np.float32)
    q = upper_quantiles(normal, np.array([p]))[0]
    assert (normal > q).mean() <= p
    lower = normal[normal < q]
    if len(lower):
        assert (normal > lower.max()).mean() > p


def test_grid_drops_conditions_beyond_the_window_and_keeps_the_default():
    grid = make_grid(AlignConfig(), window_steps=24)
    assert grid.conditions == (2, 6, 11, 21)
    assert grid.tails[0] == 1e-4
    assert np.all(np.diff(grid.tails) > 0)


def _scene(seed: int, length: int, incidents: np.ndarray):
    rng = np.random.default_rng(seed)
    grid = make_grid(CONFIG, 16)
    margins = rng.normal(size=(len(grid.conditions), length)).astype(np.float32)
    labels = np.full(length, -1, dtype=np.int8)
    labels[length // 2 :] = 0
    for a, b in incidents:
        labels[a:b] = 1
        margins[:, (a + b) // 2] += 8
    return grid, margins, labels


def test_tables_hold_the_same_counts_as_the_measures():
    incidents = np.array([[30, 40], [120, 121], [199, 230]])
    grid, margins, labels = _scene(0, 300, incidents)
    margins[:, :10] = np.nan
    tables = tabulate(
        margins, labels, incidents, grid, 3, random_scores=seeded_uniform(1, "k", "e", 300), shifts=np.array([0.3])
    )
    judged = labels != -1
    for c, p in [(0, 0), (1, 5), (2, 11)]:
        alarms = margins[c] > tables.quantiles[c, p]
        counts = event_counts(alarms, incidents, 3)
        assert tables.detector.hits[c, p].sum() == counts.hits
        assert tables.detector.false_pages[c, p] == counts.false_pages
        assert tables.detector.false_judged[c, p] == event_counts(alarms, incidents, 3, judged).false_pages
    assert tables.points == (labels[10:] != 1).sum()
    assert np.all(tables.tails < 0.01)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 199))
def test_shifted_counts_equal_rolling_the_alarms(seed, offset):
    rng = np.random.default_rng(seed)
    length = 200
    alarms = rng.random(length) < 0.05
    alarms[[0, -1]] = False
    incidents = np.array([[20, 35], [80, 81], [150, 170]])
    judged = np.array([[0, 60], [75, 200]])
    moved = move_truth(incidents, judged, length, np.array([offset]))
    hits, false = shifted_counts(pages(alarms, 1), moved, 3)
    rolled = pages(np.roll(alarms, offset), 1)
    # A page that the roll cuts at the end counts once before and twice after: leave those out of the comparison.
    if not (np.roll(alarms, offset)[0] and np.roll(alarms, offset)[-1]):
        np.testing.assert_array_equal(hits, touches(incidents, rolled))
        expected = (~touches(rolled, incidents) & touches(rolled, judged)).sum()
        assert false == expected


def test_random_numbers_depend_on_the_entity_alone():
    assert np.array_equal(seeded_uniform(1, "k", "a", 5), seeded_uniform(1, "k", "a", 9)[:5])
    assert not np.array_equal(seeded_uniform(1, "k", "a", 5), seeded_uniform(1, "k", "b", 5))
