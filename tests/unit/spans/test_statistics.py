"""The eight statistics from the accumulator, compared with numpy and scipy on the durations themselves."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fleetalign.spans.accumulator import SERIES, accumulate
from fleetalign.spans.statistics import STATISTICS, joined, statistics, telemetry

DAY_US = 86_400_000_000
START_US = 1_714_521_600_000_000


def of(durations: list[int]) -> dict[str, float | None]:
    series = pa.table([["web"], ["a"], ["GET /"], ["2xx"]], names=list(SERIES))
    zeros = np.zeros(len(durations), dtype=np.int64)
    return statistics(accumulate(series, zeros, zeros, np.array(durations, dtype=np.int64), 300)).to_pylist()[0]


@given(st.lists(st.one_of(st.integers(0, 10**10), st.integers(0, 2000)), min_size=1, max_size=80))
@settings(deadline=None, max_examples=150)
def test_statistics_are_those_of_numpy_and_scipy(durations: list[int]) -> None:
    found = of(durations)
    values = np.array(durations, dtype=np.float64)
    assert tuple(found) == STATISTICS
    assert found["count"] == len(durations)
    assert found["minimum_us"] == values.min()
    assert found["maximum_us"] == values.max()
    assert found["average_us"] == pytest.approx(values.mean(), rel=1e-12)
    assert found["standard_deviation_us"] == pytest.approx(values.std(), rel=1e-9, abs=1e-6)
    assert found["median_us"] == pytest.approx(np.median(values), rel=0.01)
    if len(set(durations)) == 1:
        assert found["skewness"] is None
        assert found["kurtosis"] is None
    elif values.std() > 1e-4 * values.mean():  # else float64 of scipy cancels, and ours does not
        assert found["skewness"] == pytest.approx(stats.skew(values), rel=1e-6, abs=1e-6)
        assert found["kurtosis"] == pytest.approx(stats.kurtosis(values), rel=1e-6, abs=1e-6)


def test_moments_do_not_cancel() -> None:
    # Around one hour, a spread of one microsecond: float64 power sums would give a negative variance.
    hour = 3_600_000_000
    found = of([hour, hour + 1, hour + 1, hour + 2])
    assert found["standard_deviation_us"] == pytest.approx(math.sqrt(0.5), rel=1e-12)
    assert found["skewness"] == 0.0
    assert found["kurtosis"] == pytest.approx(-1.0, abs=1e-12)


def test_telemetry_has_a_row_per_window_and_a_column_per_statistic() -> None:
    series = pa.table([["web"] * 3, ["a", "a", "b"], ["GET", "GET", "PUT"], ["2xx", "5xx", "2xx"]], names=list(SERIES))
    step = 300_000_000
    rows = [(0, 0, 10), (0, 0, 30), (0, step, 50), (1, step, 70), (2, DAY_US, 90), (0, DAY_US, 5)]
    codes, windows, durations = (np.array(c, dtype=np.int64) for c in zip(*rows, strict=True))
    found = joined(list(telemetry(accumulate(series, codes, windows + START_US, durations, 300), "day"))).to_pylist()
    first, second, third, other = found
    at = datetime(2024, 5, 1, tzinfo=UTC)
    assert (first["entity_id"], first["timestamp"], first["GET_2xx_count"]) == ("a", at, 2.0)
    assert (first["GET_2xx_average_us"], first["GET_2xx_median_us"]) == (20.0, 20.0)
    assert first["GET_5xx_count"] == 0.0, "another window of that day has one, and the entity had requests"
    assert first["GET_5xx_average_us"] is None
    assert (second["GET_2xx_count"], second["GET_5xx_count"], second["GET_5xx_maximum_us"]) == (1.0, 1.0, 70.0)
    assert third["GET_5xx_count"] is None, "the next day of that entity knows no 5xx"
    assert (other["entity_id"], other["PUT_2xx_count"], other["GET_2xx_count"]) == ("b", 1.0, None)
