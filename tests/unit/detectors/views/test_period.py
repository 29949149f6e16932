"""The period of a kind: found where telemetry has one, at any step that divides it, and none where it has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.config import ModelConfig
from fleetalign.detectors.views.period import find_period, reference
from fleetalign.detectors.views.roles import REFERENCE_STEPS, half_width, reference_lags, seasonal_lags
from fleetalign.model import normalizer

DAY, WEEK = 86_400, 604_800


def shape(kind: str, seconds: np.ndarray) -> np.ndarray:
    """float64 [time]: a working day, a working week whose days differ, or nothing."""
    day, hour = seconds // DAY % 7, seconds % DAY / 3600
    work = np.exp(-(((hour - 13) / 4) ** 2))
    if kind == "week":
        return work * np.array([1.0, 0.2, 1.4, 0.6, 1.8, -1.0, -0.5])[day.astype(int)]
    return {"day": work, "none": np.zeros_like(work)}[kind]


def telemetry(kind: str, step: int, days: int, seed: int = 0, entities: int = 3, metrics: int = 2) -> np.ndarray:
    random = np.random.default_rng(seed)
    seconds = step * np.arange(days * DAY // step, dtype=np.float64)
    rhythm = shape(kind, seconds)[None, :, None] * random.choice([-1, 1], (entities, 1, metrics))
    noise = 0.2 * random.standard_normal((entities, len(seconds), metrics))
    return 1e4 * (3 + rhythm + noise)


def found(as_panel, values: np.ndarray, step: int, first: np.ndarray | None = None) -> int | None:
    panel = as_panel(values, first, step_seconds=step)
    location, scale = normalizer.build(panel, ModelConfig(), 10).lookup()
    return find_period(panel, location, scale, 20.0)


@pytest.mark.parametrize("step", [60, 300, 420, 3600])
@pytest.mark.parametrize("kind", ["day", "week", "none"])
def test_finds_the_period_at_every_step_that_divides_it(as_panel, kind, step):
    values = telemetry(kind, step, 28, seed=step)
    # 7 minutes do not divide a day, but they divide a week.
    expected = {"day": DAY if DAY % step == 0 else WEEK, "week": WEEK, "none": None}[kind]
    assert found(as_panel, values, step) == (expected and expected // step)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("days", [14, 16, 28])
def test_a_day_is_not_taken_for_a_week_by_chance(as_panel, days, seed):
    assert found(as_panel, telemetry("day", 3600, days, seed), 3600) == 24


@pytest.mark.parametrize("step", [11 * 60, 7 * 3600 + 60])
def test_a_step_that_divides_nothing_has_no_period(as_panel, step):
    assert DAY % step and WEEK % step
    assert found(as_panel, telemetry("day", step, 28), step) is None


def test_a_step_of_which_a_day_has_few_has_no_daily_period(as_panel):
    assert found(as_panel, telemetry("day", 3 * 3600, 12), 3 * 3600) is None
    assert found(as_panel, telemetry("day", 2 * 3600, 12), 2 * 3600) == 12


@pytest.mark.parametrize("kind", ["day", "week", "none"])
def test_gaps_and_irregular_starts_change_nothing(as_panel, kind):
    values = telemetry(kind, 3600, 35, entities=6)
    random = np.random.default_rng(1)
    first = np.array([0, 50, 100, 200, 300, 828])
    for entity, begin in enumerate(first):
        values[entity, :begin] = np.nan
    values[random.random(values.shape) < 0.2] = np.nan
    values[:, 400:430] = np.nan
    values[2, :, 1] = np.nan
    assert found(as_panel, values, 3600, first) == {"day": 24, "week": 168, "none": None}[kind]


def test_less_than_two_periods_show_none(as_panel):
    assert found(as_panel, telemetry("day", 3600, 2)[:, :47], 3600) is None
    assert found(as_panel, telemetry("week", 3600, 13), 3600) != 168
    assert found(as_panel, telemetry("day", 3600, 3), 3600) == 24


def test_constant_and_absent_metrics_show_none(as_panel):
    values = np.full((2, 24 * 10, 2), 5.0)
    values[:, :, 1] = np.nan
    assert found(as_panel, values, 3600) is None


def test_one_entity_with_a_rhythm_among_many_without_shows_none(as_panel):
    values = telemetry("none", 3600, 14, entities=40)
    values[0] = telemetry("day", 3600, 14, entities=1)[0]
    assert found(as_panel, values, 3600) is None
    values[::2] = telemetry("day", 3600, 14, entities=20)
    assert found(as_panel, values, 3600) == 24


def naive_reference(c: np.ndarray, period: int) -> np.ndarray:
    width = half_width(period)
    out = np.full_like(c, np.nan)
    for t, m in np.ndindex(c.shape):
        at = [t - back * period + o for back in (1, 2, 3) for o in range(-width, width + 1)]
        seen = [c[i, m] for i in at if 0 <= i < len(c) and np.isfinite(c[i, m])]
        out[t, m] = np.mean(seen) if seen else np.nan
    return out


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31), period=st.sampled_from([1, 7, 24, 50, 100]), missing=st.sampled_from([0.0, 0.3, 0.95])
)
def test_the_reference_is_the_mean_over_three_earlier_periods(seed, period, missing):
    random = np.random.default_rng(seed)
    c = random.normal(size=(130, 2))
    c[random.random(c.shape) < missing] = np.nan
    np.testing.assert_allclose(reference(c, period), naive_reference(c, period), atol=1e-12)


@pytest.mark.parametrize(("period", "width"), [(12, 0), (24, 0), (48, 1), (96, 2), (168, 2), (288, 2), (1440, 2)])
def test_lags_of_the_reference(period, width):
    assert half_width(period) == width
    positions = reference_lags(period)
    assert len(positions) == REFERENCE_STEPS
    for back, lags in zip(range(REFERENCE_STEPS - 1, -1, -1), positions, strict=True):
        assert set(lags) == {k * period + back + o for k in (1, 2, 3) for o in range(-width, width + 1)}
    assert seasonal_lags(period) == tuple(sorted({lag for lags in positions for lag in lags}))
    assert min(seasonal_lags(period)) > 0
    assert seasonal_lags(None) == ()
