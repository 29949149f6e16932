from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest

from fleetalign.contracts.tables import QUARANTINED_ROWS, TELEMETRY
from fleetalign.interval import Interval
from fleetalign.validate.series import fill_gaps
from fleetalign.validate.summary import SUMMARY_COLUMNS, summarise

DAY = Interval.parse("2024-05-01", "2024-05-02")
HOUR = 3600


def summary(rows: list[tuple], quarantined: list[str] = ()) -> dict[str, dict]:
    """Rows of (entity, hour, cpu, mem); names of entities that lost a row."""
    measured = TELEMETRY.conform(
        pa.table(
            {
                "kind": ["web"] * len(rows),
                "entity_id": pa.array([r[0] for r in rows], pa.string()),
                "timestamp": pa.array([DAY.start + timedelta(hours=r[1]) for r in rows], pa.timestamp("us", tz="UTC")),
                "cpu": pa.array([r[2] for r in rows], pa.float64()),
                "mem": pa.array([r[3] for r in rows], pa.float64()),
            }
        )
    )
    lost = pa.Table.from_pylist([{"kind": "web", "entity_id": e} for e in quarantined], schema=QUARANTINED_ROWS.schema)
    table = summarise(fill_gaps(measured, HOUR)[0], lost, DAY, HOUR, measured, measured.slice(0, 0))
    assert table.schema.names == list(SUMMARY_COLUMNS)
    return {row["entity_id"]: row for row in table.to_pylist()}


def test_a_healthy_entity() -> None:
    row = summary([("a", h, float(h), 2.0 * h) for h in range(24)])["a"]
    assert row == {
        "entity_id": "a",
        "rows": 24,
        "inserted_rows": 0,
        "quarantined_rows": 0,
        "quarantined_share": 0.0,
        "absent_metrics": 0,
        "missing_share": 0.0,
        "constant_share": 0.0,
        "longest_gap_steps": 0,
        "longest_gap_share": 0.0,
        "first_sample_share": 0.0,
        "last_sample_share": pytest.approx(23 / 24),
        "lone_samples": 0,
    }


def test_gaps_missing_cells_absent_and_constant_metrics() -> None:
    rows = summary([("a", 0, 1.0, None), ("a", 6, None, None), ("a", 7, 1.0, None), ("b", 12, 3.0, 4.0)])
    assert rows["a"]["inserted_rows"] == 5
    assert rows["a"]["absent_metrics"] == 1
    assert rows["a"]["missing_share"] == pytest.approx(6 / 8), "of the cells of metrics it has"
    assert rows["a"]["constant_share"] == 1.0
    assert (rows["a"]["longest_gap_steps"], rows["a"]["longest_gap_share"]) == (6, 0.25)
    assert rows["b"]["first_sample_share"] == 0.5
    assert (rows["a"]["lone_samples"], rows["b"]["lone_samples"]) == (0, 1)


def test_an_entity_without_any_number() -> None:
    row = summary([("a", 0, None, None), ("a", 1, None, None)])["a"]
    assert (row["missing_share"], row["constant_share"], row["longest_gap_steps"]) == (1.0, 0.0, 2)


def test_an_entity_of_which_nothing_is_left() -> None:
    row = summary([("a", 0, 1.0, 1.0)], ["gone", "gone", "a"])
    assert row["gone"]["quarantined_share"] == 1.0
    assert row["gone"]["rows"] == 0
    assert row["a"]["quarantined_share"] == 0.5
