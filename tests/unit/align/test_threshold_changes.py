"""Which thresholds moved between two tables, however either was cut into row groups."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.align.threshold_changes import compare
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, STATES, to_parquet

KEYS = st.tuples(st.sampled_from(["api", "web"]), st.sampled_from(["", DEFAULT_ENTITY, "a", "a/b", "b", "z", "é"]))
THRESHOLDS = st.sampled_from([None, -1.0, 0.0, 0.5, 1.0, 4.0])
TABLES = st.dictionaries(KEYS, THRESHOLDS, max_size=14)


def table(thresholds: dict, rows: int) -> FleetTable:
    found = [
        {"kind": kind, "entity_id": entity, "threshold": t, "state": "shared"}
        for (kind, entity), t in thresholds.items()
    ]
    whole = ALIGNER.conform(pa.Table.from_pylist(found, schema=ALIGNER.schema))
    return FleetTable(ALIGNER, to_parquet(whole, rows), "t")


@given(TABLES, TABLES, st.integers(1, 9), st.integers(1, 9))
def test_each_row_stands_beside_its_earlier_threshold(now, before, rows, rows_before):
    moves = compare(table(now, rows), table(before, rows_before))
    keys = sorted(now)
    assert moves.entity.tolist() == [entity != DEFAULT_ENTITY for _, entity in keys]
    assert [moves.kinds[k] for k in moves.kind] == [kind for kind, _ in keys]
    assert set(moves.state.tolist()) <= {STATES.index("shared")}
    np.testing.assert_array_equal(moves.before, [np.nan if before.get(k) is None else before[k] for k in keys])
    for key, factor in zip(keys, moves.factor, strict=True):
        comparable = (now[key] or 0) > 0 and (before.get(key) or 0) > 0
        assert factor == now[key] / before[key] if comparable else math.isnan(factor)
    assert moves.gone == len(set(before) - set(now))


def test_up_and_down_count_alike_and_ties_stay_in_order():
    now = {("web", name): t for name, t in zip("abcde", (1.0, 4.0, 0.125, 1.0, 2.0), strict=True)}
    moves = compare(table(now, 2), table({key: 1.0 for key in now if key[1] != "d"}, 3))
    assert moves.furthest().tolist() == [2, 1, 4, 0, 3]
    assert moves.moved.tolist() == [False, True, True, False, True]


def test_without_a_table_before_nothing_moved():
    moves = compare(table({("web", "a"): 1.0}, 1), None)
    assert (moves.moved.tolist(), moves.furthest().tolist(), moves.gone) == ([False], [0], 0)
