"""Cells, rows and series: boundary behaviour of each check, then the two count laws over random telemetry."""

from __future__ import annotations

import json
import math
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.tables import TELEMETRY
from fleetalign.interval import Interval
from fleetalign.validate.cells import check_cells
from fleetalign.validate.rows import check_rows
from fleetalign.validate.series import fill_gaps

DAY = Interval.parse("2024-05-01", "2024-05-02")
STEP = 3600


def telemetry(*rows: tuple[str, float, float | None]) -> pa.Table:
    """Rows of (entity, hours after midnight, cpu)."""
    return TELEMETRY.conform(
        pa.table(
            {
                "kind": ["web"] * len(rows),
                "entity_id": pa.array([r[0] for r in rows], pa.string()),
                "timestamp": pa.array([DAY.start + timedelta(hours=r[1]) for r in rows], pa.timestamp("us", tz="UTC")),
                "cpu": pa.array([r[2] for r in rows], pa.float64()),
            }
        )
    )


def hours(table: pa.Table) -> list[float]:
    return [(t - DAY.start) / timedelta(hours=1) for t in table["timestamp"].to_pylist()]


@pytest.mark.parametrize(
    ("value", "rule"),
    [(math.inf, "infinite"), (-math.inf, "infinite"), (1.1e18, "too_large"), (-1.1e18, "too_large")],
)
def test_bad_cells_become_null(value: float, rule: str) -> None:
    table, cells = check_cells(telemetry(("a", 0, 1.0), ("a", 1, value)))
    assert table["cpu"].to_pylist() == [1.0, None]
    (cell,) = cells.to_pylist()
    assert (cell["metric"], cell["rule"], float(cell["value_text"])) == ("cpu", rule, value)
    assert cell["timestamp"] == DAY.start + timedelta(hours=1)


@pytest.mark.parametrize("value", [1e18, -1e18, 0.0, 5e-324])
def test_good_cells_stay(value: float) -> None:
    table, cells = check_cells(telemetry(("a", 0, value)))
    assert table["cpu"].to_pylist() == [value]
    assert cells.num_rows == 0


def test_nan_is_missing_and_no_fault() -> None:
    table, cells = check_cells(telemetry(("a", 0, math.nan), ("a", 1, None)))
    assert table["cpu"].to_pylist() == [None, None]
    assert cells.num_rows == 0


def test_the_partition_is_half_open() -> None:
    checked = check_rows(
        telemetry(("a", -0.001, 1.0), ("a", 0, 2.0), ("a", 23.999, 3.0), ("a", 24, 4.0)), DAY, STEP, "raw/prefix"
    )
    assert checked.kept["cpu"].to_pylist() == [2.0, 3.0]
    assert checked.outside["rule"].to_pylist() == ["outside_partition"] * 2
    assert set(checked.outside["origin"].to_pylist()) == {"raw/prefix"}
    assert '"cpu": "1.0"' in checked.outside["row_json"][0].as_py()


def test_times_are_floored_to_the_grid() -> None:
    checked = check_rows(telemetry(("a", 0.99, 1.0), ("a", 1.0, 2.0), ("b", 5.5, 3.0)), DAY, STEP, "raw")
    assert hours(checked.kept) == [0, 1, 5]


def test_the_last_value_of_a_slot_wins_and_unequal_ones_are_conflicts() -> None:
    table = telemetry(("a", 1.2, 1.0), ("a", 1.2, 2.0), ("a", 1.1, 3.0), ("a", 1.3, None), ("b", 1.2, 4.0))
    checked = check_rows(table, DAY, STEP, "raw")
    assert checked.kept["cpu"].to_pylist() == [2.0, 4.0], "latest time, then last in file order; nothing is no value"
    assert (checked.merged, checked.outside.num_rows, checked.contradicted.num_rows) == (3, 0, 2)
    assert checked.conflicts["value_text"].to_pylist() == ["3.0", "1.0"]
    assert checked.conflicts["rule"].to_pylist() == ["conflicting_value"] * 2


def test_rows_of_one_slot_that_agree_are_no_conflict() -> None:
    checked = check_rows(telemetry(("a", 1.2, 1.0), ("a", 1.4, None), ("a", 1.6, 1.0)), DAY, STEP, "raw")
    assert checked.kept["cpu"].to_pylist() == [1.0]
    assert (checked.merged, checked.conflicts.num_rows) == (2, 0)


@given(st.permutations(["cpu", "mem", "disk"]), st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True))
def test_a_row_per_metric_is_the_row_of_all_metrics(order: list[str], at: list[int]) -> None:
    """However a slot's values are spread over rows, the merged row is the same."""
    times = [DAY.start + timedelta(hours=h) for h in sorted(at)]

    def table(metrics: list[str]) -> pa.Table:
        columns = {name: [float(h) if name in metrics else None for h in sorted(at)] for name in ("cpu", "mem", "disk")}
        keys = {"kind": ["web"] * len(at), "entity_id": ["a"] * len(at), "timestamp": times}
        return TELEMETRY.conform(pa.table(keys | {n: pa.array(c, pa.float64()) for n, c in columns.items()}))

    whole = check_rows(table(order), DAY, STEP, "raw")
    parts = check_rows(TELEMETRY.conform(pa.concat_tables([table([name]) for name in order])), DAY, STEP, "raw")
    assert parts.kept.equals(whole.kept)
    assert (parts.merged, parts.conflicts.num_rows) == (2 * len(at), 0)


def test_gaps_are_filled_between_first_and_last_of_each_entity() -> None:
    out, inserted = fill_gaps(
        telemetry(("a", 2, 1.0), ("a", 5, 2.0), ("b", 0, 3.0), ("b", 1, 4.0), ("c", 9, None)), STEP
    )
    assert hours(out) == [2, 3, 4, 5, 0, 1, 9]
    assert out["entity_id"].to_pylist() == ["a"] * 4 + ["b"] * 2 + ["c"]
    assert out["cpu"].to_pylist() == [1.0, None, None, 2.0, 3.0, 4.0, None]
    assert out["kind"].null_count == 0
    assert inserted == 2


def test_nothing_to_fill() -> None:
    empty = telemetry()
    assert fill_gaps(empty, STEP) == (empty, 0)
    table = telemetry(("a", 0, 1.0), ("a", 1, 2.0))
    assert fill_gaps(table, STEP) == (table, 0)


values = st.one_of(st.floats(allow_nan=True), st.none(), st.sampled_from([math.inf, 1e300, -1e300]))
rows = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(-2, 26), values), max_size=60)


@given(rows, st.sampled_from([300, 600, 3600, 7000]))
def test_both_count_laws(items: list[tuple[str, float, float | None]], step_seconds: int) -> None:
    raw = telemetry(*items)
    measured, cells = check_cells(raw)
    checked = check_rows(measured, DAY, step_seconds, "raw")
    kept = checked.kept
    regular, inserted = fill_gaps(kept, step_seconds)
    assert raw.num_rows == kept.num_rows + checked.merged + checked.outside.num_rows
    assert regular.num_rows == kept.num_rows + inserted
    assert regular.schema == raw.schema

    offsets = np.array([(t - DAY.start).total_seconds() for t in regular["timestamp"].to_pylist()])
    entities = np.array(regular["entity_id"].to_pylist())
    for name in set(entities):
        assert (np.diff(offsets[entities == name]) == step_seconds).all()
    assert (offsets % step_seconds == 0).all() and ((offsets >= 0) & (offsets < 86_400)).all()
    # what went in as a number and was not quarantined comes out again
    finite = [v for v in measured["cpu"].to_pylist() if v is not None]
    outside = [json.loads(row).get("cpu") for row in checked.outside["row_json"].to_pylist()]
    lost = [*checked.conflicts["value_text"].to_pylist(), *(v for v in outside if v is not None)]
    found = [v for v in regular["cpu"].to_pylist() if v is not None]
    # Each value is kept, in quarantine, or equal to the one of its slot that was kept.
    assert set(finite) == {*found, *map(float, lost)}
    assert cells.num_rows == sum(v is not None and abs(v) > 1e18 for v in raw["cpu"].to_pylist())
