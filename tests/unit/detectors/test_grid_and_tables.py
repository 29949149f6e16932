"""The tables that alignment reduces: quantiles, hits, controls."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.align.entity import seeded_uniform, tabulate
from fleetalign.config import AlignConfig, AlignGrid
from fleetalign.detectors.grid import condition_grid, upper_quantiles
from fleetalign.detectors.registry import detector
from fleetalign.evaluate.measures import event_counts, pages, touches

CONFIG = AlignConfig(grid=AlignGrid(conditions=(2, 6, 11), tail_probability_count=12))


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300), st.floats(1e-4, 0.5))
def test_at_most_a_share_p_exceeds_the_quantile_and_one_step_lower_would_exceed_it(values, p):
    normal = np.array(values, dtype=np.float32)
    q = upper_quantiles(np.sort(normal), np.array([p]))[0]
    assert (normal > q).mean() <= p
    lower = normal[normal < q]
    if len(lower):
        assert (normal > lower.max()).mean() > p


def test_grid_drops_conditions_beyond_the_window_and_keeps_the_default():
    grid = condition_grid(AlignConfig(), window_steps=24)
    assert grid.conditions == (2, 6, 11, 21)
    assert grid.tails[0] == 1e-4
    assert np.all(np.diff(grid.tails) > 0)


def _scene(seed: int, length: int, incidents: np.ndarray):
    rng = np.random.default_rng(seed)
    grid = condition_grid(CONFIG, 16)
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
        margins,
        labels,
        incidents,
        grid.tails,
        3,
        random_scores=seeded_uniform(1, "k", "e", 300),
        shifts=np.array([0.3]),
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
@given(st.integers(0, 10_000), st.integers(4, 196), st.integers(1, 4))
def test_shifted_counts_equal_rolling_the_alarms(seed, offset, merge_steps):
    """The truth is moved one way instead of the alarms the other way. Where the roll cuts it is quiet: a page that it
    cut would be one before and two after."""
    length, incidents = 200, np.array([[20, 35], [80, 81], [150, 170]])
    margins = np.random.default_rng(seed).normal(size=(2, length)).astype(np.float32)
    for cut in (0, length - offset, length):
        margins[:, max(cut - 4, 0) : cut + 4] = -9.0
    labels = np.zeros(length, dtype=np.int8)
    labels[60:75] = -1
    for a, b in incidents:
        labels[a:b] = 1
    share = np.array([(offset + 0.5) / length])
    given = {"random_scores": np.zeros(length), "shifts": share}
    tables = tabulate(margins, labels, incidents, condition_grid(CONFIG, 16).tails, merge_steps, **given)
    for c, p in np.ndindex(tables.quantiles.shape):
        alarms = np.roll(margins[c] > tables.quantiles[c, p], offset)
        counts = event_counts(alarms, incidents, merge_steps, labels != -1)
        np.testing.assert_array_equal(tables.shifted.hits[c, p], touches(incidents, pages(alarms, merge_steps)))
        assert tables.shifted.false_judged[c, p] == counts.false_pages
        assert tables.shifted.false_pages[c, p] == event_counts(alarms, incidents, merge_steps).false_pages


def test_the_shifted_control_is_a_mean_over_shifts():
    incidents = np.array([[30, 40], [120, 121]])
    grid, margins, labels = _scene(3, 300, incidents)
    given = {"random_scores": np.zeros(300)}
    one, other, both = (
        tabulate(margins, labels, incidents, grid.tails, 3, **given, shifts=np.array(shifts))
        for shifts in ([0.25], [0.6], [0.25, 0.6])
    )
    for name in ("hits", "false_pages", "false_judged"):
        mean = (getattr(one.shifted, name) + getattr(other.shifted, name)) / 2
        np.testing.assert_allclose(getattr(both.shifted, name), mean)


def test_the_random_control_is_a_score_without_candidates():
    incidents = np.array([[30, 40], [120, 121]])
    grid, margins, labels = _scene(4, 300, incidents)
    margins[:, 50:60] = np.nan
    scores = seeded_uniform(1, "k", "e", 300)
    tables = tabulate(margins, labels, incidents, grid.tails, 3, random_scores=scores, shifts=np.array([0.5]))
    known = np.where(np.isnan(margins[0]), np.nan, scores).astype(np.float32)
    thresholds = upper_quantiles(np.sort(known[(labels != 1) & ~np.isnan(known)]), grid.tails)
    for p, threshold in enumerate(thresholds):
        counts = event_counts(known > threshold, incidents, 3)
        for c in range(len(grid.candidates)):
            assert tables.random.hits[c, p].sum() == counts.hits
            assert tables.random.false_pages[c, p] == counts.false_pages


def test_recent_quantiles_are_those_of_the_newest_samples():
    grid, margins, labels = _scene(5, 400, np.empty((0, 2), dtype=np.int64))
    margins[:, 300:] += 2.0
    given = {"random_scores": np.zeros(400), "shifts": np.array([0.5])}
    none = np.empty((0, 2), dtype=np.int64)
    whole = tabulate(margins, labels, none, grid.tails, 3, **given)
    newest = tabulate(margins, labels, none, grid.tails, 3, **given, recent_steps=100)
    alone = tabulate(
        margins[:, 300:], labels[300:], none, grid.tails, 3, shifts=given["shifts"], random_scores=np.zeros(100)
    )
    np.testing.assert_array_equal(whole.recent_quantiles, whole.quantiles)
    np.testing.assert_array_equal(newest.quantiles, whole.quantiles)
    np.testing.assert_array_equal(newest.recent_quantiles, alone.quantiles)
    margins[:, 300:] = np.nan
    silent = tabulate(margins, labels, none, grid.tails, 3, **given, recent_steps=100)
    np.testing.assert_array_equal(silent.recent_quantiles, silent.quantiles)


@given(st.integers(0, 10_000))
def test_a_rounding_difference_of_a_consumer_does_not_make_the_sample_on_the_threshold_an_alarm(seed):
    margins = np.random.default_rng(seed).lognormal(size=(1, 200)).astype(np.float32)
    labels, none = np.full(200, -1, dtype=np.int8), np.empty((0, 2), dtype=np.int64)
    tails = condition_grid(CONFIG, 16).tails
    given = {"random_scores": np.zeros(200), "shifts": np.array([0.5])}
    exact = tabulate(margins, labels, none, tails, 3, **given).quantiles
    kept = tabulate(margins, labels, none, tails, 3, **given, rounding=2e-6).quantiles
    assert (kept >= exact * (1 + 1e-6)).all() and (kept <= exact * (1 + 3e-6)).all()


def test_every_detector_declares_its_candidates():
    config = AlignConfig(grid=AlignGrid(tail_probability_count=5))
    published = detector("sharead").grid(config, 24)
    assert published.candidates == published.conditions == (2, 6, 11, 21) and not published.shared_candidate
    assert published.conditions[published.default] == 11
    views = detector("views").grid(config, 24)
    assert views.shape == (len(config.grid.view_weights) * len(config.grid.smoothings), 5)
    assert views.candidates[views.default] == (*config.grid.view_weights[0], config.grid.smoothings[0])
    assert len(set(views.candidates)) == views.shape[0]
    assert views.shared_candidate and set(views.conditions) == {0}


def test_random_numbers_depend_on_the_entity_alone():
    assert np.array_equal(seeded_uniform(1, "k", "a", 5), seeded_uniform(1, "k", "a", 9)[:5])
    assert not np.array_equal(seeded_uniform(1, "k", "a", 5), seeded_uniform(1, "k", "b", 5))
