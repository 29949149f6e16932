"""Files that are scored without being stored: as ingest reads them, and what is left out is logged."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fleetalign.config import Config
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.telemetry_files import TelemetryFiles
from fleetalign.interval import Interval

ROWS = ["host,ts,cpu", *(f"a,2024-05-0{day}T0{h}:00:00Z,{h}" for day in (1, 2) for h in range(4))]


def test_rows_outside_are_ignored_and_bad_ones_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join([*ROWS, "a,2024-05-02T05:00:00Z,oops"]) + "\n")
    mapping = Mapping(kind="web")
    with caplog.at_level(logging.WARNING):
        table = TelemetryFiles(str(path), mapping).read(Config())
    assert table.num_rows == 9
    assert set(table["kind"].to_pylist()) == {"web"}
    assert caplog.messages == [
        m for m in caplog.messages if m.startswith("left out: 1 not_a_number (cells); first: t.csv")
    ]
    assert len(caplog.messages) == 1
    day = Interval.parse("2024-05-01", "2024-05-02")
    assert TelemetryFiles(str(path), mapping, day).read(Config()).num_rows == 4
