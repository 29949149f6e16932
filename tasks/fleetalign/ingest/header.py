"""CSV files that were concatenated: a second header half way renames the columns under it."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.errors import BadInput
from fleetalign.ingest.csv_format import column_name
from fleetalign.ingest.files import FileBatch
from fleetalign.ingest.mapping import TIME_NAMES, Mapping
from fleetalign.ingest.numbers import is_text

CELLS = re.compile(r'[^,;|\t"]+')


def refuse_other_header(part: FileBatch, mapping: Mapping, origin: str) -> None:
    """Raise BadInput when ``part`` holds another header than the file's first line.

    The same header again is one unusable row, and is quarantined as such. A header differs from a row in that the time
    column holds the name of a column. ``mapping`` is resolved.
    """
    names = part.table.schema.names
    for line in part.broken_lines:
        if {mapping.time_column, mapping.entity_column} <= set(CELLS.findall(line)):
            raise _changed(origin, part.first_row, line)
    if mapping.time_column not in names or not is_text(part.table.schema.field(mapping.time_column).type):
        return
    column_names = pa.array([*names, *TIME_NAMES], pa.string())
    headers = pc.is_in(
        pc.utf8_trim_whitespace(part.table.column(mapping.time_column)), value_set=column_names
    ).to_numpy()
    for i in np.flatnonzero(headers):
        row = part.table.slice(int(i), 1).to_pylist()[0]
        if [column_name(str(v or "")) for v in row.values()] != names:
            raise _changed(origin, part.first_row + int(i), ", ".join(str(v) for v in row.values()))


def _changed(origin: str, row: int, header: str) -> BadInput:
    return BadInput(
        f"{origin}: near row {row} the header changes to {header[:200]!r}; cut the file there into two, "
        "each with its own header"
    )
