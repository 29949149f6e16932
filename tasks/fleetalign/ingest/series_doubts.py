"""Doubts about telemetry as ingest reads it: what only the values of whole series show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.contracts.slots import Times
from fleetalign.contracts.tables import KEY_COLUMNS
from fleetalign.ingest.doubts import Doubts
from fleetalign.ingest.long import series_of
from fleetalign.ingest.sampling import times_of
from fleetalign.interval import format_time

LEAST_STEPS = 30
"""Steps of a metric before its growth means anything."""
GROWING = 0.98
"""Share of the steps of a counter that do not fall: it falls when its process restarts."""
LEAST_RISES = 0.2
LEAST_END = 0.05
"""Share of the range that a metric must miss before its end is worth a word."""


def doubt_ids(entities: list[str], doubts: Doubts) -> None:
    """Doubt ids that differ by case only."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for entity in entities:
        spellings[entity.casefold()].append(entity)
    for same in spellings.values():
        if len(same) > 1:
            doubts.add("ids that differ by case", f"{' and '.join(map(repr, same))} differ by case only: one entity?")


def num_repeats(table: pa.Table) -> int:
    """Count the times of an entity at which one metric has two values."""
    keys = ["entity_id", "timestamp", *(["metric"] if "metric" in table.schema.names else [])]
    counted = table.select(keys).group_by(keys).aggregate([([], "count_all")])
    twice = counted.filter(pc.greater(counted["count_all"], 1)).select(keys)
    if not twice.num_rows:
        return 0
    among = table.join(twice, keys, join_type="left semi")
    unequal = np.zeros(twice.num_rows, dtype=np.bool_)
    for name in among.schema.names:
        if name not in (*KEY_COLUMNS, "metric"):
            found = among.select([*keys, name]).group_by(keys).aggregate([(name, "count_distinct")])
            found = found.sort_by([(key, "ascending") for key in keys])
            unequal |= found[f"{name}_count_distinct"].to_numpy() > 1
    return int(unequal.sum())


def doubt_metrics(table: pa.Table, step_seconds: int | None, doubts: Doubts) -> None:
    """Doubt metrics that only grow, and those that end early or begin late."""
    times = times_of(table)
    start, end = times.min(), times.max()
    least = max((end - start) * LEAST_END, np.timedelta64(3 * (step_seconds or 0), "s"))
    for name, series, at, values in _metrics(table, times):
        if _is_counter(series, values):
            doubts.add(
                "counters",
                f"metric {name!r} only grows: a counter is no gauge; export its increase per second, or leave it out",
            )
        filled = at[~np.isnan(values)]
        if not len(filled):
            continue
        for what, edge, missed in (
            ("ends", filled.max(), end - filled.max()),
            ("begins", filled.min(), filled.min() - start),
        ):
            if missed > least:
                instant = format_time(edge.item().replace(tzinfo=UTC))
                where = "before the telemetry does" if what == "ends" else "after the telemetry does"
                doubts.add(
                    f"metrics that {what[:-1]} too {'early' if what == 'ends' else 'late'}",
                    f"metric {name!r} {what} at {instant}, {_hours(missed)} {where}",
                )


def _metrics(table: pa.Table, times: Times) -> Iterator[tuple[str, Ints, Times, Floats]]:
    """Yield each metric with series, time and value of its rows, by series and time."""
    is_long = "metric" in table.schema.names
    series = series_of(table, is_long)
    order = np.lexsort((times, series))
    table, series, times = table.take(pa.array(order)), series[order], times[order]
    if not is_long:
        for name in table.schema.names:
            if name not in KEY_COLUMNS:
                yield name, series, times, _values(table[name])
        return
    names = table["metric"].combine_chunks().dictionary_encode()
    codes, values = names.indices.to_numpy(), _values(table["value"])
    for i, name in enumerate(names.dictionary.to_pylist()):
        rows = codes == i
        yield name, series[rows], times[rows], values[rows]


def _values(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.to_numpy().astype(np.float64)
    return values


def _is_counter(series: Ints, values: Floats) -> bool:
    filled = np.isfinite(values)
    series, values = series[filled], values[filled]
    steps = np.diff(values)[np.diff(series) == 0]
    if len(steps) < LEAST_STEPS or float(np.mean(steps > 0)) < LEAST_RISES:
        return False
    return bool(np.mean(steps >= 0) >= GROWING)


def _hours(span: np.timedelta64) -> str:
    return f"{span / np.timedelta64(1, 'h'):.3g} h"
