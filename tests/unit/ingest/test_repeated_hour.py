"""The hour that a clock repeats: the order of the file tells the two apart, or the rows are taken out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleetalign.config import Config
from fleetalign.ingest import files
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.run import ingest_files
from fleetalign.storage.lake import read_partition
from fleetalign.storage.memory import MemoryStore

BERLIN = Mapping(time_zone="Europe/Berlin", kind="w")
START = datetime(2025, 10, 25, 22, tzinfo=UTC)
"""Two hours before 2025-10-26T00:00Z, when 02:00 to 03:00 begins for the first time."""


def instants(minutes: int = 5, hours: int = 6) -> list[datetime]:
    return [START + timedelta(minutes=m) for m in range(0, hours * 60, minutes)]


def local(instant: datetime, zone: str = "Europe/Berlin") -> str:
    return instant.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")


def read(path: Path, lines: Sequence[str], mapping: Mapping = BERLIN) -> tuple[dict[tuple[str, datetime], float], dict]:
    """Value by entity and time, and the number of quarantined rows by rule."""
    path.write_text("\n".join(["host,time,n", *lines]) + "\n")
    return ingested(path, mapping)


def ingested(path: Path, mapping: Mapping = BERLIN) -> tuple[dict[tuple[str, datetime], float], dict]:
    store = MemoryStore()
    result = ingest_files(store, Config(), path, mapping, None)
    rows = [row for p in result.partitions for row in read_partition(store, p).to_pylist()]
    return {(row["entity_id"], row["timestamp"]): row["n"] for row in rows}, dict(result.quarantined_rows)


@pytest.mark.parametrize("order", ["by time", "by entity", "newest first"])
@pytest.mark.parametrize("minutes", [5, 15, 45, 60])
def test_file_order_tells_the_two_hours_apart(tmp_path: Path, order: str, minutes: int) -> None:
    rows = [(host, at) for at in instants(minutes) for host in "ab"]
    if order == "by entity":
        rows.sort(key=lambda row: row[0])
    elif order == "newest first":
        rows.reverse()
    numbers = {row: float(i) for i, row in enumerate(rows)}
    found, quarantined = read(tmp_path / "t.csv", [f"{h},{local(at)},{numbers[h, at]}" for h, at in rows])
    assert found == numbers
    assert quarantined == {}


def test_a_bad_cell_changes_nothing(tmp_path: Path) -> None:
    lines = [f"a,{local(at)},{i}" for i, at in enumerate(instants())]
    found, quarantined = read(tmp_path / "t.csv", [*lines, "a,never,7"])
    assert found == {("a", at): float(i) for i, at in enumerate(instants())}
    assert quarantined == {"unreadable_time": 1}


@pytest.mark.parametrize("lost", ["first", "second"])
def test_an_hour_that_comes_once_is_ambiguous_and_not_moved(tmp_path: Path, lost: str) -> None:
    hour = 2 if lost == "first" else 3
    kept = [at for at in instants() if not START + timedelta(hours=hour) <= at < START + timedelta(hours=hour + 1)]
    found, quarantined = read(tmp_path / "t.csv", [f"a,{local(at)},1" for at in kept])
    assert quarantined == {"ambiguous_time": 12}
    clear = [at for at in kept if not START + timedelta(hours=2) <= at < START + timedelta(hours=4)]
    assert sorted(found) == [("a", at) for at in clear]


def test_rows_in_no_order_are_ambiguous(tmp_path: Path) -> None:
    rows = instants()
    mixed = [*rows[:24], *rows[24:48:2], *rows[25:48:2], *rows[48:]]
    _, quarantined = read(tmp_path / "t.csv", [f"a,{local(at)},1" for at in mixed])
    assert quarantined == {"ambiguous_time": 24}


def test_series_of_the_long_layout_are_told_apart(tmp_path: Path) -> None:
    rows = [(at, metric) for at in instants() for metric in ("n", "m")]
    text = "\n".join(f"a,{local(at)},{metric},{i}" for i, (at, metric) in enumerate(rows))
    (tmp_path / "t.csv").write_text(f"host,time,metric,value\n{text}\n")
    found, quarantined = ingested(tmp_path / "t.csv")
    assert found == {("a", at): float(2 * i) for i, at in enumerate(instants())}
    assert quarantined == {}


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe"])
def test_other_zones(tmp_path: Path, zone: str) -> None:
    start = datetime(2025, 11, 2, 3, tzinfo=UTC) if "York" in zone else datetime(2025, 4, 5, 13, tzinfo=UTC)
    times = [start + timedelta(minutes=10 * i) for i in range(30)]
    lines = [f"a,{local(at, zone)},{i}" for i, at in enumerate(times)]
    found, quarantined = read(tmp_path / "t.csv", lines, Mapping(time_zone=zone, kind="w"))
    assert (found, quarantined) == ({("a", at): float(i) for i, at in enumerate(times)}, {})


def test_times_of_parquet_in_batches_that_cut_the_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_ROWS", 30)
    times = instants()
    naive = [at.astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None) for at in times]
    numbers = [float(i) for i in range(len(times))]
    pq.write_table(pa.table({"host": ["a"] * len(times), "time": naive, "n": numbers}), tmp_path / "t.parquet")
    found, quarantined = ingested(tmp_path / "t.parquet")
    assert (found, quarantined) == ({("a", at): n for at, n in zip(times, numbers, strict=True)}, {})


def test_spring_skips_an_hour_and_loses_nothing(tmp_path: Path) -> None:
    times = [datetime(2025, 3, 29, 23, tzinfo=UTC) + timedelta(minutes=5 * i) for i in range(48)]
    found, quarantined = read(tmp_path / "t.csv", [f"a,{local(at)},{i}" for i, at in enumerate(times)])
    assert (found, quarantined) == ({("a", at): float(i) for i, at in enumerate(times)}, {})
