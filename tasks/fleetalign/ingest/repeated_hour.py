"""Local times of the hour that a clock repeats, told apart by the order of the file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Bools, Ints
from fleetalign.contracts.tables import TIME
from fleetalign.ingest.times import Times
from fleetalign.storage.quarantine import Rule


def settle(times: Times, series: Ints) -> Times:
    """Choose a reading for each time that occurs twice.

    ``series`` int [row] numbers the series of each row. Where the times of a series run through the hour twice, the
    first run is the earlier hour; where they do not, nothing tells the hours apart, and the rows break the rule
    ``ambiguous_time``.
    """
    if times.later is None:
        return times
    earlier = times.values.cast(pa.int64()).fill_null(0).to_numpy()
    repeated = times.later.is_valid().to_numpy(zero_copy_only=False)
    backwards = _backwards(earlier, times.values.is_valid().to_numpy(zero_copy_only=False), series)
    shift = times.later.cast(pa.int64()).fill_null(0).to_numpy() - earlier
    second, unsettled = np.zeros(len(earlier), dtype=np.bool_), np.zeros(len(earlier), dtype=np.bool_)
    rows = np.flatnonzero(repeated)
    # An hour is repeated once a year: a day tells the hours of one series apart.
    days = earlier[rows] // (24 * 3600 * 10**6)
    order = np.lexsort((rows, days, series[rows]))
    cuts = np.flatnonzero((np.diff(series[rows][order]) != 0) | (np.diff(days[order]) != 0)) + 1
    for group in np.split(rows[order], cuts):
        forward = group[::-1] if backwards[series[group[0]]] else group
        turns = np.flatnonzero(np.diff(earlier[forward]) <= 0)
        if len(turns) == 1:
            second[forward[turns[0] + 1 :]] = True
        else:
            unsettled[group] = True
    rules = times.rules.copy()
    rules[unsettled] = Rule.AMBIGUOUS_TIME
    values = pa.array(earlier + np.where(second, shift, 0), mask=_unusable(times.values) | unsettled)
    return dataclasses.replace(times, values=values.cast(pa.timestamp("us")).cast(TIME), rules=rules, later=None)


def _unusable(values: pa.Array) -> Bools:
    missing: Bools = pc.is_null(values).to_numpy(zero_copy_only=False)
    return missing


def _backwards(micros: Ints, usable: Bools, series: Ints) -> Bools:
    """Whether each series runs from its newest to its oldest time, bool [series]."""
    rows = np.flatnonzero(usable)
    num_series = int(series.max(initial=0)) + 1
    first, last = np.zeros(num_series, dtype=np.int64), np.zeros(num_series, dtype=np.int64)
    last[series[rows]] = micros[rows]
    first[series[rows[::-1]]] = micros[rows[::-1]]
    return np.asarray(first > last, dtype=np.bool_)
