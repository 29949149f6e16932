from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.config import ModelConfig
from fleetalign.contracts.tables import DEFAULT_ENTITY, NORMALIZER, from_parquet, to_parquet
from fleetalign.model import normalizer

CONFIG = ModelConfig()


def standardised(panel, table):
    location, scale = normalizer.lookup(table, panel.kind, panel.entity_ids, panel.metrics)
    return (panel.values - location[:, None]) / scale[:, None]


def test_one_clipping_pass_by_hand(as_panel):
    values = np.zeros((1, 1001, 1))
    values[0, ::2, 0] = 2.0
    values[0, 1000, 0] = 1e6
    location, scale, samples = normalizer.fit(as_panel(values), 0, 1001, CONFIG)
    x = values[0, :, 0]
    x = np.clip(x, x.mean() - 20 * x.std(), x.mean() + 20 * x.std())
    assert location[0, 0] == pytest.approx(x.mean(), rel=1e-12)
    assert scale[0, 0] == pytest.approx(x.std(), rel=1e-12)
    assert scale[0, 0] < 0.7 * values.std(), "the outlier was not clipped"
    assert samples[0, 0] == 1001


def test_only_the_range_counts(as_panel):
    values = np.arange(30.0).reshape(1, 30, 1)
    location, _, samples = normalizer.fit(as_panel(values), 10, 20, CONFIG)
    assert location[0, 0] == pytest.approx(14.5)
    assert samples[0, 0] == 10


def test_missing_samples_are_skipped_and_an_absent_metric_is_nan(as_panel):
    values = np.full((2, 6, 2), np.nan)
    values[0, :4, 0] = [1.0, np.nan, 3.0, np.inf]
    location, scale, samples = normalizer.fit(as_panel(values), 0, 6, CONFIG)
    assert (location[0, 0], scale[0, 0], samples[0, 0]) == (2.0, 1.0, 2)
    assert np.isnan(location[0, 1]) and np.isnan(scale[0, 1]) and samples[0, 1] == 0
    assert np.isnan(location[1]).all()


def test_fit_does_not_change_the_panel(make_panel):
    panel = make_panel()
    before = panel.values.copy()
    normalizer.fit(panel, 0, 200, CONFIG)
    np.testing.assert_array_equal(panel.values, before)


@settings(max_examples=50)
@given(level=st.floats(-1e12, 1e12, allow_subnormal=False), move=st.floats(-1e12, 1e12, allow_subnormal=False))
def test_a_constant_metric_has_a_finite_z_and_stays_at_zero(as_panel, level, move):
    table = normalizer.build(as_panel(np.full((3, 50, 1), level)), CONFIG, 10).table()
    location, scale = normalizer.lookup(table, "web", ["e001"], ["m00"])
    assert scale[0, 0] > 0
    assert abs((level - location[0, 0]) / scale[0, 0]) <= 2.0**-normalizer.BITS, (
        "rounding of a constant looks like news"
    )
    assert np.isfinite((level + move - location[0, 0]) / scale[0, 0])


def test_a_constant_metric_that_moves_by_a_thousandth_is_far_out(as_panel):
    table = normalizer.build(as_panel(np.full((3, 50, 1), 64e9)), CONFIG, 10).table()
    location, scale = normalizer.lookup(table, "web", ["e000"], ["m00"])
    assert (64.1e9 - location[0, 0]) / scale[0, 0] > CONFIG.clip


@settings(max_examples=30)
@given(factor=st.sampled_from([1e-9, 1e-3, 0.5, 7.0, 1e6]), offset=st.floats(-100, 100), seed=st.integers(0, 2**31))
def test_z_does_not_depend_on_the_unit(as_panel, factor, offset, seed):
    """Celsius or Fahrenheit, bytes or gigabytes: the same z."""
    values = np.random.default_rng(seed).normal(3.0, 1.0, (3, 80, 2))
    values[0, 7, 1] = np.nan
    plain, other = as_panel(values), as_panel(factor * (values + offset))
    np.testing.assert_allclose(
        standardised(other, normalizer.build(other, CONFIG, 10).table()),
        standardised(plain, normalizer.build(plain, CONFIG, 10).table()),
        rtol=2.0 ** (1 - normalizer.BITS),
        atol=2.0 ** (1 - normalizer.BITS),
    )


def test_the_fleet_lends_a_scale_floor(as_panel):
    values = np.random.default_rng(0).normal(0, 10, (5, 500, 1))
    values[2] = 3.0
    table = normalizer.build(as_panel(values), CONFIG, 10).table()
    _, scale = normalizer.lookup(table, "web", ["e002"], ["m00"])
    assert scale[0, 0] == pytest.approx(0.01 * 10, rel=0.1)


def test_defaults_are_medians_of_the_entities_that_move(as_panel):
    values = np.random.default_rng(1).normal(50, 4, (5, 500, 1))
    values[:3] = 7.0  # most copies are dead
    table = normalizer.build(as_panel(values), CONFIG, 10).table()
    location, scale = normalizer.lookup(table, "web", ["somebody new"], ["m00"])
    assert location[0, 0] == 7.0
    assert scale[0, 0] == pytest.approx(4, rel=0.1)


def test_a_metric_nobody_measured_stays_unknown(as_panel):
    values = np.random.default_rng(2).normal(size=(2, 50, 2))
    values[:, :, 1] = np.nan
    table = normalizer.build(as_panel(values), CONFIG, 10).table()
    location, scale = normalizer.lookup(table, "web", ["e000", "new"], ["m00", "m01", "never heard of"])
    assert np.isfinite(location[:, 0]).all()
    assert np.isnan(location[:, 1:]).all() and np.isnan(scale[:, 1:]).all()
    assert table.filter(np.array(table["entity_id"]) == DEFAULT_ENTITY)["metric"].to_pylist() == ["m00", "m01"]


def test_a_metric_of_one_entity_falls_back_to_the_default_alone(as_panel):
    values = np.random.default_rng(2).normal(5, 1, (3, 50, 2))
    values[1, :, 1] = np.nan
    panel = as_panel(values)
    table = normalizer.build(panel, CONFIG, 10).table()
    location, _ = normalizer.lookup(table, "web", panel.entity_ids, panel.metrics)
    own, scale, _ = normalizer.fit(panel, 0, 50, CONFIG)
    near = np.nanmin(scale) * 2.0**-normalizer.BITS
    assert location[1, 0] == pytest.approx(own[1, 0], abs=near)
    assert location[1, 1] == pytest.approx(np.median(own[[0, 2], 1]), abs=near)


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12))
def test_kept_numbers_are_near_and_have_few_bits(location, scale):
    kept = normalizer.short(np.float64(scale))
    assert abs(kept / scale - 1) <= 2.0**-normalizer.BITS
    assert normalizer.short(kept) == kept
    assert abs(normalizer.short_location(np.float64(location), kept) - location) <= kept * 2.0**-normalizer.BITS


def test_a_newcomer_has_no_rows_but_the_default_knows_it(as_panel):
    values = np.random.default_rng(2).normal(5, 1, (2, 50, 1))
    older = values.copy()
    values[1, :41], older[1, :40] = np.nan, np.nan
    panel = as_panel(values)
    table = normalizer.build(panel, CONFIG, 10).table()
    assert normalizer.has(table, "web", "e000")
    assert not normalizer.has(table, "web", "e001")
    assert not normalizer.has(table, "db", "e000")
    assert normalizer.has(normalizer.build(as_panel(older), CONFIG, 10).table(), "web", "e001")
    only_newcomers = normalizer.build(panel, CONFIG, 1000).table()
    assert only_newcomers["entity_id"].to_pylist() == [DEFAULT_ENTITY]
    assert np.isfinite(normalizer.lookup(only_newcomers, "web", ["e000"], ["m00"])[0]).all()


def test_where_all_are_newcomers_the_default_is_that_of_all_samples_together(as_panel):
    """Pods of six hours: the scale of one is 1, that of the day is 10."""
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1, (40, 50, 1)) + rng.normal(50, 10, (40, 1, 1))
    location, scale = normalizer.build(as_panel(values), CONFIG, 200).default
    assert location[0] == pytest.approx(values.mean(), rel=1e-3)
    assert scale[0] == pytest.approx(values.std(), rel=1e-3)
    values[:20, 10:] = np.nan
    location, scale = normalizer.build(as_panel(values), CONFIG, 200).default
    assert location[0] == pytest.approx(np.nanmean(values), rel=1e-3)
    assert scale[0] == pytest.approx(np.nanstd(values), rel=1e-3)


def test_lookup_keeps_the_order_it_is_asked_for_and_the_kind(as_panel):
    panel = as_panel(np.random.default_rng(2).normal(5, 1, (3, 50, 2)))
    table = from_parquet(to_parquet(normalizer.build(panel, CONFIG, 10).table()), "t")
    assert table.schema.equals(NORMALIZER.schema)
    forward = normalizer.lookup(table, "web", ["e000", "e002"], ["m00", "m01"])
    backward = normalizer.lookup(table, "web", ["e002", "e000"], ["m01", "m00"])
    for a, b in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(a, b[::-1, ::-1])
    assert np.isnan(normalizer.lookup(table, "db", ["e000"], ["m00"])[0]).all()


def test_importing_it_loads_no_torch():
    code = "import sys, fleetalign.model.normalizer, fleetalign.storage.windows; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
