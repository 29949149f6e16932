"""Recognises columns that number rows or tables: no detector can use them."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa

from fleetalign.ingest.numbers import is_number, is_text, plain, to_float64

PANDAS_NAMES = re.compile(r"__index_level_\d+__|Unnamed: \d+|")
"""Names that pandas gives to an index without one."""
COUNTER_NAMES = frozenset({"index", "level_0", "row", "rownum", "row_number", "rowid", "row_id", "id", "no", "nr"})
"""A column of such a name is an index when its numbers rise by one in each row."""
INFLUX_COLUMNS = frozenset({"result", "table", "_start", "_stop"})
"""Beside ``_time`` these describe the query of InfluxDB, not the entity."""


def index_columns(sample: pa.Table) -> dict[str, str]:
    """Return the columns of ``sample`` that number its rows, each with the reason."""
    named = _named_by_pandas(sample.schema)
    found = {}
    for name in sample.schema.names:
        if name in named or PANDAS_NAMES.fullmatch(name):
            found[name] = "the index of a pandas frame"
        elif name in INFLUX_COLUMNS and "_time" in sample.schema.names:
            found[name] = "describes the query of InfluxDB"
        elif name.lower() in COUNTER_NAMES and _counts_rows(plain(sample.column(name))):
            found[name] = "numbers the rows"
    return found


def _named_by_pandas(schema: pa.Schema) -> set[str]:
    try:
        document = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        return {name for name in document.get("index_columns", ()) if isinstance(name, str)}
    except (ValueError, AttributeError):
        return set()


def _counts_rows(column: pa.ChunkedArray) -> bool:
    if not (is_number(column.type) or is_text(column.type)) or column.null_count:
        return False
    numbers = to_float64(column)[0].to_numpy()
    return len(numbers) > 1 and bool(np.all(np.diff(numbers) == 1))
