"""Single values that are no measurement (contracts 2.2).

A bad cell becomes null; its row stays.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fleetalign.contracts.arrays import Bools, Floats
from fleetalign.contracts.cells import MAX_ABS_VALUE, is_measured
from fleetalign.contracts.tables import KEY_COLUMNS, QUARANTINED_CELLS
from fleetalign.storage.quarantine import Rule


def check_cells(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Replace NaN, infinities and values beyond ``MAX_ABS_VALUE`` in ``table`` by null.

    Returns the table and the quarantined cells; NaN is the missing marker itself, so it is not quarantined.
    """
    quarantined = [QUARANTINED_CELLS.empty()]
    for number, name in enumerate(table.schema.names):
        if name in KEY_COLUMNS:
            continue
        values = table.column(name).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        missing = ~is_measured(values, MAX_ABS_VALUE)
        bad = missing & ~np.isnan(values)
        if bad.any():
            quarantined.append(_quarantined(table, name, values, bad))
        if missing.any():
            table = table.set_column(number, name, pa.array(values, mask=missing))
    return table, pa.concat_tables(quarantined)


def _quarantined(table: pa.Table, metric: str, values: Floats, bad: Bools) -> pa.Table:
    key = table.select(list(KEY_COLUMNS)).filter(pa.array(bad))
    texts = [repr(v) for v in values[bad].tolist()]
    rules = np.where(np.isinf(values[bad]), Rule.INFINITE, Rule.TOO_LARGE).tolist()
    return pa.table([*key.columns, [metric] * len(texts), texts, rules], schema=QUARANTINED_CELLS.schema)
