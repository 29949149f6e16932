"""Tests which columns tell the rows of one time apart: a guess of the entity must."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.ingest.index_columns import index_columns
from fleetalign.ingest.numbers import is_quantity, is_text, plain

MOST_TESTED = 50
"""Columns that a test looks at: files have up to 100,000."""
LEAST_SHARE = 0.3
"""Share of all times that the series of a column have at least, on average: a measurement is no key."""


def usual_entity(sample: pa.Table, usual: Sequence[str], time: str, metric: str) -> str:
    """Return the first of the ``usual`` names that repeats fewest times.

    A column of fractions names no entity. Columns that are not in ``sample`` come from the path and are the same in
    all rows. Empty without a name.
    """
    usable = [name for name in usual if not _has_fractions(sample, name)]
    if len(usable) < 2:
        return next(iter(usable), "")
    return min(usable, key=lambda name: repeats(sample, [name, time, metric]))


def repeats(sample: pa.Table, keys: Sequence[str]) -> int:
    """Count the rows whose ``keys`` another row of ``sample`` has too; an empty key is no key."""
    table = _plain(sample, keys)
    return int(table.num_rows - table.group_by(table.schema.names).aggregate([]).num_rows)


def conflicts(sample: pa.Table, keys: Sequence[str], values: Sequence[str]) -> int:
    """Count the groups of equal ``keys`` in which a column of ``values`` has unequal values."""
    if not repeats(sample, keys):
        return 0
    table, names = _plain(sample, keys), _plain(sample, values[:MOST_TESTED])
    for i, column in enumerate(names.columns):
        table = table.append_column(f"value {i}", column)
    keyed = table.schema.names[: table.num_columns - names.num_columns]
    counted = table.group_by(keyed).aggregate([(f"value {i}", "count_distinct") for i in range(names.num_columns)])
    unequal = [pc.greater(counted[f"value {i}_count_distinct"], 1) for i in range(names.num_columns)]
    return int(pc.sum(pc.cast(_any(unequal), pa.int64())).as_py() or 0) if unequal else 0


def telling_apart(sample: pa.Table, keys: Sequence[str], candidates: Sequence[str]) -> tuple[str, ...]:
    """Return the fewest of ``candidates`` that make ``keys`` unique; none if they cannot.

    Each series that they make must have a good share of the times, which the values of a measurement do not.
    """
    indexes = index_columns(sample)
    chosen = [n for n in candidates[:MOST_TESTED] if n not in indexes and _can_be_key(sample, n)]
    if not chosen or repeats(sample, [*keys, *chosen]):
        return ()
    # Numbers go first, so that of two ways the one with names stays.
    for name in sorted(
        chosen, key=lambda n: is_text(plain(sample.column(n)).type) and not is_quantity(plain(sample.column(n)))
    ):
        rest = [n for n in chosen if n != name]
        if not repeats(sample, [*keys, *rest]):
            chosen = rest
    return tuple(chosen)


def makes_series(sample: pa.Table, time: str, names: Sequence[str]) -> bool:
    """Whether the series of ``names`` have several rows and a good share of all times."""
    table = _plain(sample, names)
    num_series = table.group_by(table.schema.names).aggregate([]).num_rows
    rows_each = sample.num_rows / max(1, num_series)
    times = pc.count_distinct(_plain(sample, [time]).column(0)).as_py()
    return bool(rows_each >= 2 and rows_each >= LEAST_SHARE * times)


def _plain(sample: pa.Table, names: Sequence[str]) -> pa.Table:
    present = list(dict.fromkeys(name for name in names if name in sample.schema.names))
    columns = {f"key {name}": plain(sample.column(name)) for name in present}
    # Arrow groups by neither lists nor structs; they tell nothing apart.
    columns = {key: c for key, c in columns.items() if pa.types.is_primitive(c.type) or is_text(c.type)}
    return pa.table(columns or {"key": pa.nulls(sample.num_rows, pa.int8())})


def _any(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    found = columns[0]
    for column in columns[1:]:
        found = pc.or_(found, column)
    return found


def _has_fractions(sample: pa.Table, name: str) -> bool:
    if name not in sample.schema.names:
        return False
    column = plain(sample.column(name))
    if is_text(column.type):
        return is_quantity(column) and bool(pc.any(pc.match_substring_regex(column, r"\d[.,]\d|^[.,]\d")).as_py())
    return bool(pa.types.is_floating(column.type) or pa.types.is_decimal(column.type))


def _can_be_key(sample: pa.Table, name: str) -> bool:
    column = plain(sample.column(name))
    if not (is_text(column.type) or pa.types.is_integer(column.type)):
        return False
    return not (_has_fractions(sample, name) or 2 * pc.count_distinct(column).as_py() > len(column))
