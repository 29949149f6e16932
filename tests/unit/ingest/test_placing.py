"""Which slot and partition a sample belongs to, from files to validated rows; and rows that come late."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import REPOSITORY, skip_or_fail
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.config import Config
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.run import ingest_files
from fleetalign.interval import Interval
from fleetalign.storage.lake import list_partitions, read_partition, read_phases
from fleetalign.storage.memory import MemoryStore
from fleetalign.validate.run import validate_interval

START = datetime(2024, 5, 1, tzinfo=UTC)
DAYS = [Interval(START + timedelta(days=i), START + timedelta(days=i + 1)) for i in range(3)]
WHOLE = Interval(DAYS[0].start, DAYS[-1].end)
STEP = 600
CONFIG = Config(steps={"web": STEP})
Sample = tuple[str, datetime, int]


def reported(phases: dict[str, float], jitter: float, seed: int, days: int = 1) -> list[Sample]:
    """Samples of hosts that each report at their own time of every step, give or take ``jitter`` of it."""
    draw = random.Random(seed)
    return [
        (host, START + timedelta(seconds=STEP * (i + phase + draw.uniform(-jitter, jitter))), i)
        for host, phase in phases.items()
        for i in range(days * 86400 // STEP)
    ]


def write(path: Path, samples: list[Sample]) -> Path:
    path.write_text("host,ts,cpu\n" + "".join(f"{h},{t.isoformat()},{v}.5\n" for h, t, v in samples))
    return path


def validated(store: MemoryStore) -> pa.Table:
    for partition in list_partitions(store, "raw"):
        validate_interval(store, CONFIG, partition.interval)
    return pa.concat_tables(read_partition(store, p) for p in list_partitions(store, "validated"))


def objects(store: MemoryStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("telemetry/raw")}


def listed(store: MemoryStore) -> dict[str, bytes]:
    """The documents of the partitions: they name the bytes of every part that counts."""
    return {key: value for key, value in objects(store).items() if key.endswith("_partition.json")}


@settings(max_examples=12)
@given(st.floats(0, 0.999), st.floats(0, 0.35), st.integers(0, 99))
def test_no_sample_is_lost_wherever_in_the_step_a_host_reports(
    tmp_path_factory: pytest.TempPathFactory, phase: float, jitter: float, seed: int
) -> None:
    samples = reported({"a": phase, "b": 0.0}, jitter, seed)
    store = MemoryStore()
    result = ingest_files(
        store, CONFIG, write(tmp_path_factory.mktemp("t") / "t.csv", samples), Mapping(kind="web"), None
    )
    assert (result.read, result.kept) == (len(samples), len(samples))
    rows = validated(store)
    for host in "ab":
        own = rows.filter(pa.compute.equal(rows["entity_id"], host))
        assert own["cpu"].to_pylist() == [v + 0.5 for h, _, v in samples if h == host]
        times = own["timestamp"].to_pylist()
        assert all((t - START) % timedelta(seconds=STEP) == timedelta(0) for t in times)
        assert {b - a for a, b in itertools.pairwise(times)} == {timedelta(seconds=STEP)}


def test_a_day_is_the_same_whether_it_was_ingested_alone_or_with_others(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", reported({"a": 0.0, "b": 0.4, "c": 0.97, "d": 0.7}, 0.2, 5, days=3))
    whole, daily, free = MemoryStore(), MemoryStore(), MemoryStore()
    ingest_files(whole, CONFIG, path, Mapping(kind="web"), WHOLE)
    results = [ingest_files(daily, CONFIG, path, Mapping(kind="web"), day) for day in DAYS]
    assert objects(whole) == objects(daily)
    assert sum(result.kept for result in results) == sum(p.rows for p in list_partitions(daily, "raw"))
    ingest_files(free, CONFIG, path, Mapping(kind="web"), None)
    inner = {key: value for key, value in objects(free).items() if "date=2024-05-02" in key}
    assert inner == {key: value for key, value in objects(whole).items() if "date=2024-05-02" in key}


def test_rows_on_the_grid_make_the_partition_that_they_always_made(tmp_path: Path) -> None:
    store = MemoryStore()
    path = write(tmp_path / "t.csv", reported({"a": 0.0, "b": 0.0}, 0.0, 0))
    (partition,) = ingest_files(store, CONFIG, path, Mapping(kind="web"), None).partitions
    assert partition.document["schema_version"] == "1.0"
    assert "phases" not in partition.document
    late = write(tmp_path / "u.csv", reported({"a": 0.25, "b": 0.0}, 0.0, 0))
    (partition,) = ingest_files(MemoryStore(), CONFIG, late, Mapping(kind="web"), None).partitions
    assert partition.document["schema_version"] == "1.1"


def test_validation_keeps_the_phases_that_were_fitted(tmp_path: Path) -> None:
    store = MemoryStore()
    ingest_files(
        store, CONFIG, write(tmp_path / "t.csv", reported({"a": 0.25, "b": 0.0}, 0.0, 0)), Mapping(kind="web"), None
    )
    validated(store)
    found = [read_phases(store, p) for layer in ("raw", "validated") for p in list_partitions(store, layer)]
    assert found[0] == found[1]
    assert found[0].to_pylist() == [
        {"kind": "web", "entity_id": "a", "phase_us": 150_000_000},
        {"kind": "web", "entity_id": "b", "phase_us": 0},
    ]


@pytest.mark.parametrize("header", ["wide", "long"])
def test_late_rows_merged_into_a_day_give_the_bytes_of_the_whole(tmp_path: Path, header: str) -> None:
    samples = reported({"a": 0.0, "b": 0.3, "c": 0.95}, 0.2, 7, days=2)
    late = set(random.Random(1).sample(samples, 60))
    mapping = Mapping(kind="web")
    if header == "long":
        mapping = Mapping(kind="web", layout="long", metric_column="metric", value_column="value")

    def file(name: str, chosen: list[Sample]) -> Path:
        if header == "wide":
            return write(tmp_path / name, chosen)
        lines = [f"{h},{t.isoformat()},{m},{v + k}\n" for h, t, v in chosen for k, m in ((0.5, "cpu"), (0.25, "mem"))]
        (tmp_path / name).write_text("host,ts,metric,value\n" + "".join(lines))
        return tmp_path / name

    whole, merged = MemoryStore(), MemoryStore()
    ingest_files(whole, CONFIG, file("whole.csv", samples), mapping, None)
    ingest_files(merged, CONFIG, file("on_time.csv", [s for s in samples if s not in late]), mapping, None)
    came_late = file("late.csv", [s for s in samples if s in late])
    result = ingest_files(merged, CONFIG, came_late, mapping, None, stored="merge")
    assert result.read == result.kept == len(late) * (1 if header == "wide" else 2)
    assert listed(merged) == listed(whole)
    before = objects(merged)
    ingest_files(merged, CONFIG, came_late, mapping, None, stored="merge")
    assert objects(merged) == before, "merging the same file again changes nothing"


def test_a_sparse_file_or_one_that_contradicts_itself_can_be_merged_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [
        "host,ts,cpu,mem",
        *(f"a,2024-05-01T{h:02}:00:00Z,{h},\na,2024-05-01T{h:02}:00:00Z,,{h}" for h in range(20)),
    ]
    path.write_text("\n".join([*lines, "a,2024-05-01T03:00:00Z,7,", "a,2024-05-01T04:30:00Z,,"]) + "\n")
    store, config = MemoryStore(), Config(steps={"web": 1800})
    ingest_files(store, config, path, Mapping(kind="web"), None)
    before = objects(store)
    ingest_files(store, config, path, Mapping(kind="web"), None, stored="merge")
    assert objects(store) == before


def test_late_rows_with_gaps_are_merged_at_the_step_of_the_day(tmp_path: Path) -> None:
    samples = reported({"a": 0.0}, 0.0, 0)
    late = samples[::2]
    whole, merged = MemoryStore(), MemoryStore()
    ingest_files(whole, Config(), write(tmp_path / "w.csv", samples), Mapping(kind="web"), None)
    for part, stored in ((samples[1:40:2] + samples[41:], "keep"), (late, "merge")):
        ingest_files(merged, Config(), write(tmp_path / "t.csv", part), Mapping(kind="web"), None, stored=stored)
    assert listed(merged) == listed(whole)


def test_a_row_without_a_value_is_not_lost_when_long_samples_are_merged(tmp_path: Path) -> None:
    mapping = Mapping(kind="web", layout="long", metric_column="metric", value_column="value")
    first, late = tmp_path / "first.csv", tmp_path / "late.csv"
    first.write_text("host,ts,metric,value\na,2024-05-01T00:00:00Z,cpu,1\na,2024-05-01T00:10:00Z,cpu,\n")
    late.write_text("host,ts,metric,value\na,2024-05-01T00:20:00Z,cpu,1\n")
    store = MemoryStore()
    ingest_files(store, CONFIG, first, mapping, None)
    (partition,) = ingest_files(store, CONFIG, late, mapping, None, stored="merge").partitions
    assert read_partition(store, partition)["cpu"].to_pylist() == [1.0, None, 1.0]


def test_what_was_quarantined_before_stays_when_rows_are_merged(tmp_path: Path) -> None:
    first, late = tmp_path / "first.csv", tmp_path / "late.csv"
    first.write_text("host,ts,cpu\na,2024-05-01T00:00:00Z,1\na,2024-05-01T00:10:00Z,x\n,2024-05-01T00:10:00Z,1\n")
    late.write_text("host,ts,cpu\na,2024-05-01T00:20:00Z,1\na,2024-05-01T00:30:00Z,y\n")
    store = MemoryStore()
    ingest_files(store, CONFIG, first, Mapping(kind="web"), None)
    for _ in range(2):
        (partition,) = ingest_files(store, CONFIG, late, Mapping(kind="web"), None, stored="merge").partitions
        counts = partition.document["counts"]
        assert counts == {
            "kept": 4,
            "quarantined_cells": {"not_a_number": 2},
            "quarantined_rows": {"missing_entity": 1},
        }


@pytest.mark.parametrize(
    ("case", "file", "config", "rows"),
    [
        ("jitter_grid_edge", "jitter.csv", Config(), 11_520),
        ("jitter_minute", "t.csv", Config(steps={"node": 60}), 5_756),
    ],
)
def test_the_cases_of_the_field_lose_nothing(case: str, file: str, config: Config, rows: int) -> None:
    folder = REPOSITORY.parent / "shared" / "cases" / case
    if not folder.is_dir():
        skip_or_fail(f"{folder} is not there")
    store = MemoryStore()
    ingest_files(store, config, folder / file, Mapping(kind="node"), None)
    results = [r for p in list_partitions(store, "raw") for r in validate_interval(store, config, p.interval)]
    assert sum(result.kept for result in results) == rows
    assert sum(result.merged + result.inserted for result in results) == 0
    assert not any(result.quarantined_rows or result.quarantined_cells for result in results)
