"""The eight statistics of a window, and telemetry made of them.

Standard deviation, skewness and kurtosis are those of the population, kurtosis is 0 for a normal distribution: numpy's and
scipy's defaults. Skewness and kurtosis are missing where all durations are equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import SPAN_STATS, TELEMETRY
from fleetalign.interval import Granularity
from fleetalign.spans.accumulator import POWERS, integers
from fleetalign.spans.histogram import middle_us

STATISTICS = (
    *("count", "minimum_us", "maximum_us", "average_us", "median_us", "standard_deviation_us"),
    *("skewness", "kurtosis"),
)
"""Ends of the names of telemetry columns, ``{operation}_{status_class}_{statistic}``."""


def statistics(table: pa.Table) -> pa.Table:
    """Compute the eight statistics of each row of SPAN_STATS.

    The columns are STATISTICS, float64, null where undefined.
    """
    powers = [integers(table[name]) for name in POWERS]
    minima, maxima = table["minimum_us"].to_pylist(), table["maximum_us"].to_pylist()
    histograms = zip(table["bucket"].to_pylist(), table["bucket_count"].to_pylist(), strict=True)
    rows = [
        (
            float(number),
            float(low),
            float(high),
            sums[0] / number,
            _median(number, low, high, *histogram),
            *_shape(number, *sums),
        )
        for number, low, high, histogram, *sums in zip(
            table["count"].to_pylist(), minima, maxima, histograms, *powers, strict=True
        )
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(STATISTICS)
    return pa.table({n: pa.array(c, pa.float64()) for n, c in zip(STATISTICS, columns, strict=True)})


def telemetry(table: pa.Table, partition: Granularity) -> Iterator[pa.Table]:
    """Yield telemetry of SPAN_STATS: a table for each partition and entity.

    It has the columns that this entity has in the partition.     A row stands for a window in which the entity had a request. There the counts of its other operations and status
    classes of that partition are 0, and their other statistics missing.
    """
    table = SPAN_STATS.conform(table)
    for day in sorted(pc.unique(pc.floor_temporal(table["timestamp"], unit=partition)).to_pylist()):
        part = table.filter(pc.equal(pc.floor_temporal(table["timestamp"], unit=partition), pa.scalar(day)))
        keys = zip(part["kind"].to_pylist(), part["entity_id"].to_pylist(), strict=True)
        for start, length in _runs(list(keys)):
            yield _entity_telemetry(part.slice(start, length))


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Join what ``telemetry`` yields to one table in the telemetry contract."""
    return TELEMETRY.conform(pa.concat_tables([TELEMETRY.empty(), *tables], promote_options="default"))


def _entity_telemetry(rows: pa.Table) -> pa.Table:
    """Make telemetry of the rows of one entity, which are sorted by time."""
    figures = statistics(rows)
    times = rows["timestamp"].unique()
    places = pc.index_in(rows["timestamp"], value_set=times).to_numpy()
    names = [f"{o}_{s}" for o, s in zip(rows["operation"].to_pylist(), rows["status_class"].to_pylist(), strict=True)]
    series, members = np.unique(np.array(names, dtype=object), return_inverse=True)
    columns: dict[str, Any] = {
        "kind": pa.repeat(rows["kind"][0], len(times)),
        "entity_id": pa.repeat(rows["entity_id"][0], len(times)),
        "timestamp": times,
    }
    for statistic in STATISTICS:
        filled = np.full((len(series), len(times)), 0.0 if statistic == "count" else np.nan)
        filled[members, places] = figures[statistic].fill_null(np.nan).to_numpy()
        for name, values in zip(series, filled, strict=True):
            columns[f"{name}_{statistic}"] = pa.array(values, from_pandas=True)
    return TELEMETRY.typed(pa.table(columns))


def _runs(keys: list[tuple[str, str]]) -> Iterator[tuple[int, int]]:
    start = 0
    for i in range(1, len(keys) + 1):
        if i == len(keys) or keys[i] != keys[start]:
            yield start, i - start
            start = i


def _median(number: int, low: int, high: int, buckets: list[int], counts: list[int]) -> float:
    return (
        _ranked((number - 1) // 2, number, low, high, buckets, counts)
        + _ranked(number // 2, number, low, high, buckets, counts)
    ) / 2


def _ranked(rank: int, number: int, low: int, high: int, buckets: list[int], counts: list[int]) -> float:
    """Return the duration of a rank from 0: exact at both ends, else the middle of its bucket."""
    if rank == 0 or rank == number - 1:
        return low if rank == 0 else high
    for bucket, count in zip(buckets, counts, strict=True):
        if rank < count:
            return min(max(middle_us(bucket), low), high)
        rank -= count
    return high


def _shape(number: int, s1: int, s2: int, s3: int, s4: int) -> tuple[float, float | None, float | None]:
    """Return standard deviation, skewness and kurtosis.

    Central moments are exact integers until the last division: n² times the second, n³ times the third, n⁴ times the fourth.
    """
    second = number * s2 - s1**2
    if second == 0:
        return 0.0, None, None
    third = number**2 * s3 - 3 * number * s1 * s2 + 2 * s1**3
    fourth = number**3 * s4 - 4 * number**2 * s1 * s3 + 6 * number * s1**2 * s2 - 3 * s1**4
    root = math.sqrt(second)
    return root / number, third / second / root, fourth / second**2 - 3.0
