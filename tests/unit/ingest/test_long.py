from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.tables import TIME
from fleetalign.ingest.long import pivot, series_of
from fleetalign.ingest.placing import SLOT

START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("entity_id", pa.string()),
        ("timestamp", TIME),
        ("metric", pa.string()),
        ("value", pa.float64()),
        (SLOT, TIME),
    ]
)


def samples(*rows: tuple[str, int, str, float | None]) -> pa.Table:
    """Rows in the minute that they lie in."""
    return pa.Table.from_pylist(
        [
            {
                "kind": "k",
                "entity_id": e,
                "timestamp": START + timedelta(seconds=s),
                "metric": m,
                "value": v,
                SLOT: START + timedelta(seconds=s // 60 * 60),
            }
            for e, s, m, v in rows
        ],
        schema=SCHEMA,
    )


def test_samples_of_one_step_become_one_row_at_the_first_of_them() -> None:
    wide = pivot(samples(("a", 3, "mem", 2.0), ("a", 1, "cpu", 1.0), ("b", 0, "cpu", 5.0), ("a", 60, "cpu", 3.0))).wide
    assert sorted(wide.drop_columns(["kind", SLOT]).to_pylist(), key=str) == sorted(
        [
            {"entity_id": "a", "timestamp": START + timedelta(seconds=1), "mem": 2.0, "cpu": 1.0},
            {"entity_id": "a", "timestamp": START + timedelta(seconds=60), "mem": None, "cpu": 3.0},
            {"entity_id": "b", "timestamp": START, "mem": None, "cpu": 5.0},
        ],
        key=str,
    )


def test_of_two_samples_in_a_step_the_last_in_file_order_is_kept() -> None:
    out = pivot(samples(("a", 9, "cpu", 1.0), ("a", 0, "cpu", 2.0)))
    assert out.wide["cpu"].to_pylist() == [2.0]
    (lost,) = out.duplicates.to_pylist()
    assert (lost["metric"], lost["value_text"], lost["rule"]) == ("cpu", "1", "duplicate_cell")
    assert lost["timestamp"] == START + timedelta(seconds=9)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 300), st.sampled_from(["x", "y"]), st.floats(-9, 9) | st.none()
        ),
        min_size=1,
    )
)
def test_every_value_is_that_of_its_cell_or_a_conflict(rows: list[tuple[str, int, str, float | None]]) -> None:
    table = samples(*rows)
    out = pivot(table)
    assert out.wide.num_rows == len({(e, s // 60) for e, s, _, _ in rows})
    last = {(e, s // 60, m): v for e, s, m, v in rows if v is not None}
    unequal = [v for e, s, m, v in rows if v is not None and v != last[e, s // 60, m]]
    assert sorted(map(float, out.duplicates["value_text"].to_pylist())) == sorted(unequal)
    for row in out.wide.to_pylist():
        slot = int((row["timestamp"] - START).total_seconds()) // 60
        for metric in ("x", "y"):
            assert row.get(metric) == last.get((row["entity_id"], slot, metric))


def test_series_are_pairs_of_entity_and_metric() -> None:
    table = samples(("a", 0, "x", 1.0), ("b", 0, "x", 1.0), ("a", 9, "y", 1.0), ("a", 5, "x", 1.0))
    codes = series_of(table, is_long=True)
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 3
    assert series_of(table, is_long=False).tolist() == [0, 1, 0, 0]
