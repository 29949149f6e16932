from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleetalign.contracts.tables import FEEDBACK
from fleetalign.errors import BadInput
from fleetalign.feedback.files import read_feedback_file

HEADER = "entity_id,start,end,verdict"
GOOD = "a,2024-01-01T00:00:00Z,2024-01-01T01:00:00Z,anomaly"


def read(tmp_path: Path, *lines: str) -> pa.Table:
    path = tmp_path / "f.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_feedback_file(str(path), "web")


def test_four_columns_are_enough(tmp_path: Path) -> None:
    (row,) = read(tmp_path, HEADER, GOOD).to_pylist()
    assert row["recorded_at"] == row["end"] == datetime(2024, 1, 1, 1, tzinfo=UTC)
    assert (row["kind"], row["verdict"], row["source"], row["note"]) == ("web", "anomaly", "file", "")


def test_optional_columns_and_others(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        f"{HEADER},kind,source,note,recorded_at,colour",
        f'{GOOD},db,on-call,"disk, full",2024-01-01T05:00:00+02:00,red',
        f"{GOOD},,,,,",
    )
    assert table.schema == FEEDBACK.schema
    by_kind = {r["kind"]: r for r in table.to_pylist()}
    assert by_kind["db"]["recorded_at"] == datetime(2024, 1, 1, 3, tzinfo=UTC)
    assert (by_kind["db"]["source"], by_kind["db"]["note"]) == ("on-call", "disk, full")
    assert by_kind["web"]["recorded_at"] == by_kind["web"]["end"]


def test_a_statement_said_twice_is_one(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER, GOOD, GOOD).num_rows == 1


def test_parquet_with_real_types(tmp_path: Path) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    table = pa.table({"entity_id": [7], "start": [start], "end": [start.replace(hour=2)], "verdict": ["Normal"]})
    pq.write_table(table, tmp_path / "f.parquet")
    (row,) = read_feedback_file(str(tmp_path / "f.parquet"), "web").to_pylist()
    assert (row["entity_id"], row["verdict"]) == ("7", "normal")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,2024-01-01T00:00:00Z,2024-01-01T01:00:00Z,maybe", r"f\.csv row 2: column 'verdict' is 'maybe'"),
        ("a,2024-01-01T01:00:00Z,2024-01-01T01:00:00Z,normal", r"row 2: column 'end' .* is not after 'start'"),
        ("a,yesterday,2024-01-01T01:00:00Z,normal", r"row 2: column 'start' is 'yesterday'"),
        ("a,,2024-01-01T01:00:00Z,normal", r"row 2: column 'start' is None"),
        ("a,2024-01-01T00:00:00,2024-01-01T01:00:00Z,normal", r"row 2: column 'start' is '2024-01-01T00:00:00'"),
        (",2024-01-01T00:00:00Z,2024-01-01T01:00:00Z,normal", r"row 2: column 'entity_id'"),
        ("__default__,2024-01-01T00:00:00Z,2024-01-01T01:00:00Z,normal", r"row 2: column 'entity_id'"),
        ("a,2024-01-01T00:00:00Z", r"too few or too many columns"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(tmp_path, HEADER, GOOD, line)


def test_a_wrong_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"row 1: column 'kind'"):
        read(tmp_path, f"{HEADER},kind", f"{GOOD},Web Tier")


def test_a_missing_column_and_times_without_zone_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"f\.csv: column 'verdict' is missing"):
        read(tmp_path, "entity_id,start,end", "a,2024-01-01T00:00:00Z,2024-01-01T01:00:00Z")
    with pytest.raises(BadInput, match=r"column 'start': no time with a zone"):
        read(tmp_path, HEADER, "a,2024-01-01T00:00:00,2024-01-01T01:00:00,normal")
