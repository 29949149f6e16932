"""What a day is measured to be, when a limit is passed, and how it is told."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.config.run import DriftLimits, plain
from fleetalign.watch.drift_page import render, text
from fleetalign.watch.measures import WORST, EntityDay, KindDay, Measure, entity_day, measures, share

CLIP = 20.0
LIMITS = DriftLimits()
IDS = ("a", "b", "c", "d")
cells = st.lists(st.floats(-30, 30) | st.just(np.nan), min_size=4, max_size=40).map(lambda v: np.array(v)[:, None])


def one(values: np.ndarray, location: float = 0.0, scale: float = 1.0, score: np.ndarray | None = None) -> EntityDay:
    score = np.full(len(values), 1.0, dtype=np.float32) if score is None else score
    return entity_day(values, np.array([location]), np.array([scale]), CLIP, score)


def day(
    level=(0.0, 0.0, 0.0, 0.0), spread=(1.0, 1.0, 1.0, 1.0), clipped=(0, 0, 0, 0), score=(1.0, 1.0, 1.0, 1.0)
) -> KindDay:
    """Four entities with one metric and 100 samples each; ``score`` is the quantile itself."""
    return KindDay(
        np.array(level)[:, None], np.array(spread)[:, None], np.array(clipped)[:, None], np.full((4, 1), 100),
        np.log(score),
    )  # fmt: skip


def found(checked: KindDay, *control: KindDay, limits: DriftLimits = LIMITS) -> dict[str, Measure]:
    return {m.name: m for m in measures("web", ["cpu"], IDS, checked, control, limits)}


@given(cells)
def test_an_entitys_day_is_what_counting_by_hand_gives(values: np.ndarray):
    got, known = one(values), values[np.isfinite(values)]
    held = np.clip(known, -CLIP, CLIP)
    assert (got.samples[0], got.clipped[0]) == (len(known), (abs(known) >= CLIP).sum())
    if len(known) >= len(values) / 2:
        assert got.level[0] == pytest.approx(held.mean(), abs=1e-9)
        assert got.spread[0] == pytest.approx(held.std(), abs=1e-6)
    else:
        assert np.isnan([got.level[0], got.spread[0]]).all()


@given(cells, st.floats(0.01, 100), st.floats(-1000, 1000))
def test_units_do_not_matter(values: np.ndarray, scale: float, location: float):
    values = np.round(values, 3)[
        abs(np.nan_to_num(values[:, 0])) < CLIP - 0.01
    ]  # rounding must not decide what is clipped
    if not len(values):
        return
    raw, plain_day = one(values * scale + location, location, scale), one(values)
    for name in ("level", "spread", "clipped", "samples"):
        np.testing.assert_allclose(getattr(raw, name), getattr(plain_day, name), atol=1e-6)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30), st.floats(-10, 10))
def test_a_level_shift_is_measured_in_scales(values: list[float], shift: float):
    before, after = (one(np.array(values)[:, None] + by) for by in (0.0, shift))
    assert after.level[0] - before.level[0] == pytest.approx(shift, abs=1e-9)
    assert after.spread[0] == pytest.approx(before.spread[0], abs=1e-6)


def test_a_metric_that_nobody_knows_and_a_value_beyond_floats_are_no_error():
    unknown = entity_day(np.ones((4, 1)), np.array([np.nan]), np.array([np.nan]), CLIP, np.full(4, np.nan, np.float32))
    assert np.isnan([unknown.level[0], unknown.spread[0], unknown.score]).all()
    assert unknown.samples[0] == 0
    assert one(np.full((4, 1), 1e300), scale=1e-100).clipped[0] == 4


def test_the_score_is_its_quantile_and_needs_half_a_day():
    score = np.arange(1, 101, dtype=np.float32)
    assert np.exp(one(np.zeros((100, 1)), score=score).score) == pytest.approx(np.quantile(score, 0.95))
    score[:51] = np.nan
    assert np.isnan(one(np.zeros((100, 1)), score=score).score)


def test_days_that_are_equal_have_not_drifted_and_their_score_ratio_is_one():
    got = found(day(), day(), day())
    assert not any(m.drifted for m in got.values())
    assert (got["score_ratio"].value, got["score_ratio"].control) == (1.0, (1.0, 1.0))


@pytest.mark.parametrize(
    ("level", "value", "drifted"),
    [
        ((1.1, 1.1, 0.0, 0.0), 0.5, True),
        ((-1.1, 1.1, 0.0, 0.0), 0.5, True),
        ((9.0, 0.0, 0.0, 0.0), 0.25, False),
        ((1.0, 1.0, 1.0, 1.0), 0.0, False),
        ((9.0, np.nan, np.nan, np.nan), 1.0, True),
        ((9.0, 0.0, np.nan, np.nan), 0.5, False),
    ],
    ids=["two of four", "either way", "one of four", "at the limit", "the only one", "one of two is an anomaly"],
)
def test_a_kind_has_shifted_when_more_than_one_has(level: tuple[float, ...], value: float, drifted: bool):
    got = found(day(level=level))["shifted_share"]
    assert (got.value, got.drifted) == (value, drifted)
    assert got.worst[0][1] == max(abs(x) for x in level if x == x)


@given(st.lists(st.floats(0.1, 50), min_size=4, max_size=4), st.floats(0.05, 20))
def test_the_score_ratio_is_the_median_entitys_and_counts_both_ways(scores: list[float], factor: float):
    got = found(day(score=[s * factor for s in scores]), day(score=scores), day(score=scores))["score_ratio"]
    assert got.value == pytest.approx(factor)
    assert got.control == pytest.approx((1.0, 1.0))
    if abs(np.log(factor)) != pytest.approx(np.log(2)):
        assert got.drifted == (abs(np.log(factor)) > np.log(2))


def test_a_control_day_is_compared_with_the_others_only():
    got = found(day(), day(score=(4.0,) * 4), day())["score_ratio"]
    assert got.control == pytest.approx((4.0, 0.25))
    alone = found(day(), day())["score_ratio"]
    assert (alone.value, alone.control) == (1.0, (None,))
    assert found(day())["score_ratio"].value is None, "without control days there is nothing to compare scores with"


def test_clipped_values_count_beyond_those_of_the_control_days():
    usual = day(clipped=(8, 0, 0, 0))
    assert not found(day(clipped=(8, 0, 4, 0)), usual)["clipped_share"].drifted
    got = found(day(clipped=(8, 0, 8, 0)), usual)["clipped_share"]
    assert (got.value, got.limit, got.drifted) == (0.04, pytest.approx(0.03), True)
    assert got.worst[:2] == (("a", 0.08), ("c", 0.08))


def test_a_noisier_kind_is_told_by_its_median_entity():
    assert found(day(spread=(9.0, 2.1, 2.1, 0.5)))["spread_ratio"].drifted
    assert not found(day(spread=(9.0, 9.0, 1.0, 1.0)), limits=DriftLimits(max_spread_ratio=5.5))["spread_ratio"].drifted


def test_a_share_names_a_bounded_list():
    many = [f"e{i}" for i in range(40)]
    got = share("web", "new_share", many, 100, 0.2)
    assert (got.value, got.drifted, len(got.worst)) == (0.4, True, WORST)
    assert share("web", "new_share", [], 0, 0.2).value is None


def report(*found: Measure) -> dict:
    rate = {"value": 0.5, "limit": 2.0, "verdict": "pass", "when_aligned": None, "pages": 2, "entity_days": 4.0}
    return {
        "release_id": "0" * 16,
        "day": "2026-03-10",
        "limits": plain(LIMITS),
        "kinds": {"web": {"seen": 4, "known": 4, "new": 0, "silent": 0, "control_days": ["2026-03-09"]}},
        "alarm_rate": {**rate, "over_threshold_share": 0.01, "tail_probability": None},
        "measures": [m.as_json() for m in found],
        "drifted": any(m.drifted for m in found),
    }


def test_the_page_and_the_lines_say_what_drifted_and_who():
    level = measures("web", ["<cpu>"], ["<b>x</b>", "y"], KindDay.of([one(np.full((4, 1), 3.0))] * 2), [], LIMITS)
    said = text(report(*level))
    assert "1 of 4 measures drifted" in said
    assert "web shifted_share <cpu>: 1, limit 0.25" in said
    assert "more than 1 scales from their usual level; control days none" in said
    assert "worst: <b>x</b> 3, y 3" in said
    page = render(report(*level)).decode()
    assert render(report(*level)).decode() == page
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt; 3, y 3" in page
    assert page.count("<svg") == 1
    assert not re.findall(r'(?:src|href)="http', page)


def test_no_drift_is_said_too():
    quiet = list(found(day(), day(), day()).values())
    assert "no drift" in text(report(*quiet))
    assert "no drift" in render(report(*quiet)).decode()
