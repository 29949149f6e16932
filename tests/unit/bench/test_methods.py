"""Scores are causal and made from train data; decisions come from the feedback part alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from unit.bench.toy import toy

from bench import example
from bench.detection import curves, decisions, learned, methods
from bench.detection.figures import judged, rank
from bench.detection.labelled import Truth, read
from fleetalign.config import AlignConfig, AlignGrid, TrainingConfig
from fleetalign.contracts.feedback import ANOMALY

CONFIG = AlignConfig(min_history_steps=50, grid=AlignGrid(tpe_trials=3))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return example.write(tmp_path_factory.mktemp("sets") / "pumps.parquet")


@pytest.fixture(scope="module")
def made(path):
    given, truth = read(path)
    found = [methods.random(given, CONFIG, 1), *learned.baselines(given, CONFIG)]
    return given, truth, found + learned.sharead(toy(given), given, CONFIG)


def test_every_method_scores_every_test_sample(made):
    given, _, found = made
    assert [m.name for m in found] == list(methods.ORDER[:5])
    for method in found:
        for e in range(given.entities):
            assert method.margins[e].shape == (len(method.grid.candidates), given.test_steps(e))
            assert method.ranked(0)[e].dtype == np.float32 and np.isfinite(method.ranked(0)[e]).all()


def test_scores_know_nothing_of_the_future(made):
    given, _, found = made
    late = given.panel.values.copy()
    late[:, given.start + 500 :] = 1e6
    changed = replace(given, panel=replace(given.panel, values=late))
    again = [*learned.baselines(changed, CONFIG), *learned.sharead(toy(changed), changed, CONFIG)]
    for method, other in zip(found[1:], again, strict=True):
        for left, right in zip(method.ranked(0), other.ranked(0), strict=True):
            np.testing.assert_array_equal(left[:500], right[:500])
            assert (left[500:] != right[500:]).any()


def test_a_detector_ranks_above_chance(made):
    _, truth, found = made
    values = {m.name: float(np.nanmean(rank(m.ranked(0), truth).vus_pr)) for m in found}
    assert values[methods.RANDOM] < min(values[methods.MEAN_Z], values[methods.SHAREAD])


def test_a_missing_sample_is_skipped_when_smoothing():
    scores = np.array([1.0, np.nan, 3.0], dtype=np.float32)
    found = methods.smoothed(scores)
    assert found[0] == 1.0 and np.isnan(found[1])
    assert found[2] == pytest.approx((0.3 * 3 + 0.7 * 0.3 * 1) / (0.3 + 0.7 * 0.3))


@pytest.mark.parametrize("policy", decisions.POLICIES)
def test_alarms_do_not_depend_on_anything_said_after_feedback(made, policy):
    given, truth, found = made
    method = found[3]
    before = decisions.decide(method, given, CONFIG, (policy,))[0]
    random = decisions.decide(found[0], given, CONFIG, (policy,))[0]
    opposite = Truth(tuple(1 - labels for labels in truth.labels), truth.judged)
    judged(before, random.tails, given, opposite, CONFIG, 1)
    after = decisions.decide(method, given, CONFIG, (policy,))[0]
    assert before.chosen == after.chosen and before.tails == after.tails
    for left, right in zip(before.alarms, after.alarms, strict=True):
        np.testing.assert_array_equal(left, right)


def test_feedback_does_move_alarms(made):
    given, _, found = made
    silent = replace(given, feedback=tuple(np.where(f == ANOMALY, 0, f).astype(np.int8) for f in given.feedback))
    told = decisions.decide(found[3], given, CONFIG, (decisions.EVENTS,))[0]
    untold = decisions.decide(found[3], silent, CONFIG, (decisions.EVENTS,))[0]
    assert told.chosen != untold.chosen and untold.chosen["prior_weight"] is None


def test_the_published_aligner_needs_profiles(made):
    given, _, found = made
    policies = [d.policy for d in decisions.decide(found[1], given, CONFIG)]
    assert decisions.PUBLISHED not in policies and len(policies) == 4


def test_thresholds_that_follow_keep_still_in_feedback_and_move_slowly(made):
    given, _, _ = made
    row = np.linspace(1, 100, given.test_steps(0)).astype(np.float32)
    limits = decisions.follow(row, given, 0, np.float32(10), 0.01, CONFIG, 0.0)
    day = round(given.steps_per_day)
    cut = given.feedback_steps(0)
    assert (limits[: cut + day] == 10).all()
    steps = np.diff(limits)
    most = CONFIG.max_threshold_change_per_day * 10
    assert (steps >= 0).all() and steps.max() == pytest.approx(most, rel=1e-5)
    assert np.flatnonzero(steps).tolist() == [cut + k * day - 1 for k in range(1, 1 + np.count_nonzero(steps))]


def test_an_entity_without_a_score_gets_the_fleets_threshold(made):
    given, _, found = made
    rows = list(found[1].margins)
    rows[0] = np.full_like(rows[0], np.nan)
    method = replace(found[1], margins=tuple(rows), scores=None)
    decision = decisions.decide(method, given, CONFIG, (decisions.EVENTS,))[0]
    others = [limit for _, limit in decision.points[1:]]
    assert not decision.alarms[0].any() and min(others) <= decision.points[0][1] <= max(others)


def test_masked_metrics_keep_the_thresholds_of_all_or_follow(made):
    given, truth, _ = made
    network = toy(given)
    points = curves.masked(network, network, given, truth, 2_000, 1)
    assert [p["dropped"] for p in points] == [0] * 4 + [1] * 4  # three metrics: three cannot be missing
    assert [p["thresholds"] for p in points] == [curves.KEPT, curves.FOLLOWED_DAILY] * 4
    assert all(0 <= p["vus_pr"] <= 1 and p["false_pages_per_entity_day"] >= 0 for p in points)
    assert points == curves.masked(network, network, given, truth, 2_000, 1)


def test_views_go_through_the_products_own_steps(path):
    given, truth = read(path)
    given, truth = given.subset([0, 1, 2, 3]), truth.subset([0, 1, 2, 3])
    settings = TrainingConfig(epochs=1, max_windows_per_epoch=512, max_validation_windows=100, threads=1)
    fitted, nothing = learned.fit(given, "views", 1, settings)
    assert nothing is None and fitted.card["seasonal_lags_steps"] and not fitted.card["condition_used"]
    told = learned.method_of(methods.VIEWS, fitted, given, CONFIG)
    assert told.margins[0].shape == (len(told.grid.candidates), 900) and told.scores is None
    untold = learned.untold(told)
    np.testing.assert_array_equal(untold.ranked(0)[0], told.margins[0][told.grid.default])
    moved = curves.transfer(fitted, fitted, given, truth)
    assert moved["own_period"] and moved["vus_pr"] == pytest.approx(
        float(np.nanmean(rank(untold.ranked(0), truth).vus_pr)), rel=1e-6
    )
    late = curves._since(given, given.start - 300)
    series = curves.newcomers(fitted, late, CONFIG)
    assert series[0].first == given.start - 300 and np.isfinite(series[0].statistics).all()
    assert not np.array_equal(series[0].location, learned.series_of(fitted, given)[0].location)
