"""The accumulator: what is kept of the requests of one window, and how two of them merge.

A row of ``span_stats`` holds count, minimum, maximum, the exact sums of the first four powers of the duration in
microseconds, and a histogram. All of them merge by integer addition or comparison, so the table of all requests is equal
to the byte for any order of requests and for any way to divide them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Bools, Ints
from fleetalign.contracts.tables import SPAN_STATS, TIME, sort_indices
from fleetalign.errors import BadInput
from fleetalign.spans.histogram import buckets_of

SERIES = ("kind", "entity_id", "operation", "status_class")
"""What a request belongs to besides its window."""
MAX_DURATION_US = 10**13
"""Longest duration, 115 days: sums of powers stay integers of a size that every tool can parse."""
POWERS = ("sum_us", "sum_us2", "sum_us3", "sum_us4")
Objects = npt.NDArray[np.object_]


def accumulate(series: pa.Table, codes: Ints, windows_us: Ints, durations_us: Ints, step_seconds: int) -> pa.Table:
    """Accumulate requests.

    Args:
        series: The distinct series, text columns SERIES.
        codes: Row of ``series`` of each request, int64 [request].
        windows_us: Start of its window, microseconds since 1970, int64 [request].
        durations_us: Its duration in microseconds, from 0 to MAX_DURATION_US, int64 [request].
        step_seconds: Length of the windows.

    Returns:
        A table SPAN_STATS, one row for each series and window that has a request.
    """
    buckets = buckets_of(durations_us)
    order = np.lexsort((buckets, windows_us, codes))
    codes, windows_us, durations_us, buckets = (a[order] for a in (codes, windows_us, durations_us, buckets))
    is_first = _changes(codes) | _changes(windows_us)
    starts = np.flatnonzero(is_first)
    bucket_starts = np.flatnonzero(is_first | _changes(buckets))
    number = len(durations_us)
    values: Objects = durations_us.astype(object)
    squares = values * values
    powers = (values, squares, squares * values, squares * squares)
    return _table(
        series.take(pa.array(codes[starts])),
        pa.array(windows_us[starts]).cast(pa.timestamp("us")).cast(TIME),
        step_seconds,
        np.diff(np.append(starts, number)),
        _reduce(np.minimum, durations_us, starts),
        _reduce(np.maximum, durations_us, starts),
        [_reduce(np.add, power, starts) for power in powers],
        np.searchsorted(bucket_starts, starts),
        buckets[bucket_starts],
        np.diff(np.append(bucket_starts, number)),
    )


def merge(tables: Sequence[pa.Table]) -> pa.Table:
    """Merge tables SPAN_STATS: rows of one series and window become one.

    Raises:
        BadInput: A column is missing, or windows of one kind have different lengths.
    """
    table = pa.concat_tables([SPAN_STATS.typed(t) for t in tables] or [SPAN_STATS.empty()])
    table = table.take(sort_indices(table, SPAN_STATS.sort_by)).combine_chunks()
    if table.num_rows == 0:
        return SPAN_STATS.empty()
    _check_steps(table)
    is_first = np.ones(table.num_rows, dtype=np.bool_)
    if table.num_rows > 1:
        is_first[1:] = False
        for name in SPAN_STATS.sort_by:
            column = table[name]
            is_first[1:] |= pc.not_equal(column.slice(1), column.slice(0, table.num_rows - 1)).to_numpy()
    starts = np.flatnonzero(is_first)
    lengths = pc.list_value_length(table["bucket"]).to_numpy()
    groups = np.repeat(np.cumsum(is_first) - 1, lengths)
    buckets, counts = (_flat(table[name]) for name in ("bucket", "bucket_count"))
    order = np.lexsort((buckets, groups))
    groups, buckets, counts = groups[order], buckets[order], counts[order]
    bucket_starts = np.flatnonzero(_changes(groups) | _changes(buckets))
    first = table.take(pa.array(starts))
    return _table(
        first.select(list(SERIES)),
        first["timestamp"],
        first["step_seconds"],
        _reduce(np.add, table["count"].to_numpy(), starts),
        _reduce(np.minimum, table["minimum_us"].to_numpy(), starts),
        _reduce(np.maximum, table["maximum_us"].to_numpy(), starts),
        [_reduce(np.add, integers(table[name]), starts) for name in POWERS],
        np.searchsorted(groups[bucket_starts], np.arange(len(starts))),
        buckets[bucket_starts],
        _reduce(np.add, counts, bucket_starts),
    )


def integers(column: pa.ChunkedArray) -> Objects:
    """Read a column of power sums as Python integers, object [row].

    Raises:
        BadInput: A value is no integer.
    """
    try:
        return np.array([int(text) for text in column.to_pylist()] or [], dtype=object)
    except (TypeError, ValueError) as error:
        raise BadInput(f"table {SPAN_STATS.name}: a power sum is no integer: {error}") from None


def _table(
    series: pa.Table,
    timestamps: pa.Array | pa.ChunkedArray,
    step_seconds: int | pa.ChunkedArray,
    counts: Ints,
    minima: Ints,
    maxima: Ints,
    powers: Sequence[Objects],
    offsets: Ints,
    buckets: Ints,
    bucket_counts: Ints,
) -> pa.Table:
    """Assemble SPAN_STATS.

    Row ``i`` has the buckets from ``offsets[i]`` to those of the next row.
    """
    ends = pa.array(np.append(offsets, len(buckets)).astype(np.int32))
    columns: dict[str, Any] = {name: series[name] for name in SERIES}
    columns["timestamp"] = timestamps
    columns["step_seconds"] = (
        pa.array(np.full(len(counts), step_seconds, dtype=np.int32)) if isinstance(step_seconds, int) else step_seconds
    )
    columns |= {"count": pa.array(counts), "minimum_us": pa.array(minima), "maximum_us": pa.array(maxima)}
    columns |= {
        name: pa.array([str(n) for n in power], pa.string()) for name, power in zip(POWERS, powers, strict=True)
    }
    columns["bucket"] = pa.ListArray.from_arrays(ends, pa.array(buckets.astype(np.int32)))
    columns["bucket_count"] = pa.ListArray.from_arrays(ends, pa.array(bucket_counts))
    return SPAN_STATS.conform(pa.table(columns))


def _check_steps(table: pa.Table) -> None:
    found = table.group_by("kind").aggregate([("step_seconds", "min"), ("step_seconds", "max")]).to_pylist()
    for row in sorted(found, key=lambda r: str(r["kind"])):
        if row["step_seconds_min"] != row["step_seconds_max"]:
            raise BadInput(
                f"table {SPAN_STATS.name}, kind {row['kind']}: windows of {row['step_seconds_min']} s and of "
                f"{row['step_seconds_max']} s cannot be merged; aggregate the requests again with one --step"
            )


def _changes(values: Ints) -> Bools:
    """Mark where a sorted run of equal values begins."""
    first = np.ones(len(values), dtype=np.bool_)
    first[1:] = values[1:] != values[:-1]
    return first


def _reduce(operation: np.ufunc, values: npt.NDArray[Any], starts: Ints) -> npt.NDArray[Any]:
    return operation.reduceat(values, starts) if len(starts) else values[:0]


def _flat(column: pa.ChunkedArray) -> Ints:
    flat = pc.list_flatten(column).to_numpy()
    return np.asarray(flat, dtype=np.int64)
