from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.quarantined import read_quarantine

from fleetalign.config import Config, SimulatorConfig, SourceConfig
from fleetalign.errors import BadInput, ConfigError, UsageError
from fleetalign.ingest.batch import read_batch
from fleetalign.ingest.mapping import Mapping, resolve
from fleetalign.ingest.run import ingest_files, ingest_partition, ingest_readings
from fleetalign.ingest.source import Reading
from fleetalign.interval import Interval, split
from fleetalign.storage.lake import list_partitions, read_partition
from fleetalign.storage.memory import MemoryStore

DAY = Interval.parse("2024-05-01", "2024-05-02")
NEXT = Interval.parse("2024-05-02", "2024-05-03")
HEADER = "host,ts,cpu,mem"


def objects(store: MemoryStore, *prefixes: str) -> dict[str, bytes]:
    return {i.key: store.get(i.key) for prefix in prefixes or ("",) for i in store.list(prefix)}


def write_csv(folder: Path, *lines: str, name: str = "t.csv", header: str = HEADER) -> Path:
    path = folder / name
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def quarantined(store: MemoryStore, what: str, kind: str = "web", interval: Interval = DAY) -> list[dict]:
    return read_quarantine(store, what, kind, interval, "day").to_pylist()


GOOD = [f"a,2024-05-01T0{h}:00:00Z,{h},{h}.5" for h in range(4)]


def test_good_rows_become_a_partition(tmp_path: Path) -> None:
    store = MemoryStore()
    result = ingest_files(store, Config(), write_csv(tmp_path, *GOOD), Mapping(kind="web"), DAY)
    (partition,) = list_partitions(store, "raw")
    assert result.partitions == (partition,)
    assert (partition.kind, partition.interval, partition.step_seconds) == ("web", DAY, 3600)
    assert read_partition(store, partition)["mem"].to_pylist() == [0.5, 1.5, 2.5, 3.5]
    assert (result.read, result.kept, result.outside) == (4, 4, 0)
    assert not objects(store, "quarantine/")


def test_each_bad_row_is_quarantined_with_its_rule_and_place(tmp_path: Path) -> None:
    bad = {
        ",2024-05-01T05:00:00Z,1,1": "missing_entity",
        "__default__,2024-05-01T05:00:00Z,1,1": "reserved_entity_id",
        "é" * 257 + ",2024-05-01T05:00:00Z,1,1": "entity_id_too_long",
        "a,,1,1": "missing_time",
        "a,noon,1,1": "unreadable_time",
        "a,2024-05-01T05:00:00,1,1": "time_without_zone",
        "a,1985-05-01T05:00:00Z,1,1": "time_out_of_range",
        "a,2024-05-01T05:00:00Z,1": "wrong_column_count",
    }
    store = MemoryStore()
    result = ingest_files(store, Config(), write_csv(tmp_path, *GOOD, *bad), Mapping(kind="web"), DAY)
    rows = quarantined(store, "rows")
    assert result.quarantined_rows == {r["rule"]: 1 for r in rows} == dict.fromkeys(sorted(bad.values()), 1)
    assert (result.read, result.kept, result.outside) == (12, 4, 0)
    by_rule = {r["rule"]: r for r in rows}
    assert by_rule["unreadable_time"]["origin"] == "t.csv row 9"
    assert by_rule["unreadable_time"]["timestamp_text"] == "noon"
    assert json.loads(by_rule["unreadable_time"]["row_json"]) == {"host": "a", "ts": "noon", "cpu": "1", "mem": "1"}
    assert json.loads(by_rule["entity_id_too_long"]["row_json"])["host"] == "é" * 257
    assert json.loads(by_rule["wrong_column_count"]["row_json"]) == {"line": "a,2024-05-01T05:00:00Z,1"}


def test_an_entity_id_of_512_bytes_is_kept(tmp_path: Path) -> None:
    store = MemoryStore()
    lines = [line.replace("a,", "é" * 256 + ",", 1) for line in GOOD]
    result = ingest_files(store, Config(), write_csv(tmp_path, *lines), Mapping(kind="web"), DAY)
    assert (result.kept, result.quarantined_rows) == (4, {})


def test_bad_cells_become_null_and_keep_their_text(tmp_path: Path) -> None:
    store = MemoryStore()
    path = write_csv(tmp_path, *GOOD, "a,2024-05-01T05:00:00Z,ERR,5", "a,2024-05-01T06:00:00Z,,inf")
    result = ingest_files(store, Config(), path, Mapping(kind="web"), DAY)
    (cell,) = quarantined(store, "cells")
    assert (cell["entity_id"], cell["metric"], cell["value_text"], cell["rule"]) == ("a", "cpu", "ERR", "not_a_number")
    assert cell["timestamp"] == datetime(2024, 5, 1, 5, tzinfo=UTC)
    table = read_partition(store, result.partitions[0])
    assert table["cpu"].to_pylist()[4:] == [None, None]
    assert table["mem"].to_pylist()[4:] == [5.0, float("inf")], "validation decides about infinities"


def test_rows_outside_the_range_are_counted_not_quarantined(tmp_path: Path) -> None:
    store = MemoryStore()
    path = write_csv(
        tmp_path, *GOOD, "a,2024-05-02T00:00:00Z,1,1", "a,2024-04-30T23:29:59Z,1,1", ",2024-05-03T00:00:00Z,1,1"
    )
    result = ingest_files(store, Config(), path, Mapping(kind="web"), DAY)
    assert (result.read, result.kept, result.outside, result.quarantined_rows) == (7, 4, 3, {})


def test_without_a_range_the_files_own_is_taken(tmp_path: Path) -> None:
    store = MemoryStore()
    path = write_csv(tmp_path, *GOOD, "a,2024-05-02T00:00:00Z,1,1", "a,never,1,1")
    result = ingest_files(store, Config(), path, Mapping(kind="web"), None)
    assert [p.interval for p in result.partitions] == [DAY, NEXT]
    assert [r["rule"] for r in quarantined(store, "rows")] == ["unreadable_time"]


def test_a_partitions_bytes_do_not_depend_on_the_range_of_the_run(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path, *GOOD, *(line.replace("05-01", "05-02") for line in GOOD), "a,never,1,1", "a,2024-05-02T09:00:00Z,x,1"
    )
    write_csv(tmp_path, "a,2024-05-01T00:30:00Z,7", name="u.csv", header="host,ts,disk")
    whole, daily = MemoryStore(), MemoryStore()
    ingest_files(whole, Config(), tmp_path, Mapping(kind="web"), None)
    for interval in (DAY, NEXT):
        ingest_files(daily, Config(steps={"web": 3600}), tmp_path, Mapping(kind="web"), interval)
    assert path.exists()
    assert objects(whole, "telemetry/") == objects(daily, "telemetry/")


def test_ingesting_again_changes_no_byte_and_a_repaired_source_clears_the_quarantine(tmp_path: Path) -> None:
    store = MemoryStore()
    path = write_csv(tmp_path, *GOOD, "a,2024-05-01T05:00:00Z,ERR,5", ",2024-05-01T05:00:00Z,1,1")
    ingest_files(store, Config(), path, Mapping(kind="web"), DAY)
    before = objects(store)
    ingest_files(store, Config(), path, Mapping(kind="web"), DAY)
    assert objects(store) == before
    write_csv(tmp_path, *GOOD)
    ingest_files(store, Config(), path, Mapping(kind="web"), DAY, stored="replace")
    assert quarantined(store, "rows") == quarantined(store, "cells") == []
    assert [p.rows for p in list_partitions(store, "raw")] == [4]


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        ([f"b,2024-05-01T0{hour}:00:00Z,1,1" for hour in range(6)], "1 entities such as 'a'"),
        (
            ["a,2024-05-01T00:00:00Z,1,1", "a,2024-05-01T01:00:00Z,1,1"],
            "4 samples such as that of 'a' at 2024-05-01T02:00:00Z",
        ),
        (
            [f"a,2024-05-01T0{hour}:00:00Z,1,1" for hour in (0, 1, 2, 4, 5)],
            "1 samples such as that of 'a' at 2024-05-01T03",
        ),
        ([f"a,2024-05-01T0{hour}:00:00Z,1," for hour in range(6)], "1 metrics such as 'mem'"),
    ],
)
def test_a_fragment_of_a_stored_partition_is_refused_and_nothing_changes(tmp_path: Path, lines, lost) -> None:
    store = MemoryStore()
    whole = [f"a,2024-05-01T0{hour}:00:00Z,{hour},5" for hour in range(6)]
    ingest_files(store, Config(), write_csv(tmp_path, *whole), Mapping(kind="web"), None)
    before = objects(store)
    with pytest.raises(BadInput, match=rf"kind web, 2024-05-01: the stored partition holds {lost}.*--replace"):
        ingest_files(store, Config(), write_csv(tmp_path, *lines), Mapping(kind="web"), None)
    assert objects(store) == before
    more = [*whole, "a,2024-05-01T06:00:00Z,6,5", "b,2024-05-01T00:00:00Z,1,1"]
    ingest_files(store, Config(), write_csv(tmp_path, *more), Mapping(kind="web"), None)
    assert [p.rows for p in list_partitions(store, "raw")] == [8]
    ingest_files(store, Config(), write_csv(tmp_path, *lines), Mapping(kind="web"), None, stored="replace")
    assert [p.rows for p in list_partitions(store, "raw")] == [len(lines)]


def test_a_step_that_does_not_divide_the_day_is_refused_with_one_that_does(tmp_path: Path) -> None:
    lines = [f"a,2024-05-01T00:{7 * i:02d}:00Z,1,1" for i in range(8)]
    with pytest.raises(BadInput, match=r"420 s, which does not divide a day; set steps.web .* 432"):
        ingest_files(MemoryStore(), Config(), write_csv(tmp_path, *lines), Mapping(kind="web"), None)


def test_days_and_hours_do_not_mix_in_one_store(tmp_path: Path) -> None:
    store, hourly = MemoryStore(), Config(partition="hour")
    path = write_csv(tmp_path, *[f"a,2024-05-01T0{hour}:{m}0:00Z,1,5" for hour in range(3) for m in range(6)])
    ingest_files(store, hourly, path, Mapping(kind="web"), None)
    with pytest.raises(ConfigError, match="already holds hours: set partition back to hour"):
        ingest_files(store, Config(), path, Mapping(kind="web"), None)


def test_kinds_from_a_column_and_rows_without_a_usable_one(tmp_path: Path) -> None:
    store = MemoryStore()
    lines = [f"{line},{kind}" for kind in ("web", "db") for line in GOOD] + [
        "a,2024-05-01T05:00:00Z,1,1,Web Tier",
        "a,2024-05-01T05:00:00Z,1,1,",
    ]
    result = ingest_files(store, Config(), write_csv(tmp_path, *lines, header=HEADER + ",kind"), Mapping(), DAY)
    assert [p.kind for p in result.partitions] == ["db", "web"]
    assert [r["rule"] for r in quarantined(store, "rows", "unknown")] == ["bad_kind", "bad_kind"]


def test_a_kind_that_nobody_names_is_default(tmp_path: Path) -> None:
    result = ingest_files(MemoryStore(), Config(), write_csv(tmp_path, *GOOD), Mapping(), DAY)
    assert [p.kind for p in result.partitions] == ["default"]


def test_entity_ids_never_reach_a_key(tmp_path: Path) -> None:
    store = MemoryStore()
    lines = [line.replace("a,", "../../etc/passwd,", 1) for line in GOOD]
    ingest_files(store, Config(), write_csv(tmp_path, *lines), Mapping(kind="web"), DAY)
    assert not [key for key in objects(store) if ".." in key or "passwd" in key]


def test_hourly_partitions(tmp_path: Path) -> None:
    result = ingest_files(MemoryStore(), Config(partition="hour"), write_csv(tmp_path, *GOOD), Mapping(kind="web"), DAY)
    assert [p.interval.start.hour for p in result.partitions] == [0, 1, 2, 3]
    assert all(p.step_seconds == 3600 for p in result.partitions)


def test_long_files_with_ignored_metrics_labels_and_duplicates(tmp_path: Path) -> None:
    header = "host,ts,metric,value"
    lines = [f"a,2024-05-01T0{h}:00:00Z,{m},{h}" for h in range(3) for m in ("cpu", "mem", "label")]
    path = write_csv(tmp_path, *lines, "a,2024-05-01T00:00:00Z,cpu,9", "a,2024-05-01T01:00:00Z,,9", header=header)
    with pytest.raises(UsageError, match="'label' looks like a label"):
        ingest_files(MemoryStore(), Config(), path, Mapping(kind="web"), DAY)
    store = MemoryStore()
    result = ingest_files(store, Config(), path, Mapping(kind="web", ignore=("label",)), DAY)
    table = read_partition(store, result.partitions[0])
    assert table.select(["cpu", "mem"]).to_pydict() == {"cpu": [9.0, 1.0, 2.0], "mem": [0.0, 1.0, 2.0]}
    assert (result.read, result.kept) == (8, 6)
    assert result.quarantined_cells == {"duplicate_cell": 1}
    assert result.quarantined_rows == {"missing_metric": 1}
    assert [r["origin"] for r in quarantined(store, "rows")] == ["t.csv row 11"]
    assert ingest_files(MemoryStore(), Config(), path, Mapping(kind="web", metrics=("cpu",)), DAY).kept == 3


@pytest.mark.parametrize("field", ["metrics", "ignore"])
def test_a_misspelt_column_is_refused_before_anything_is_written(tmp_path: Path, field: str) -> None:
    store = MemoryStore()
    names = {"metrics": ("cpu", "mem", "cpuu"), "ignore": ("cpuu",)}[field]
    with pytest.raises(UsageError, match=rf"--{field} cpuu is in none of the files"):
        ingest_files(store, Config(), write_csv(tmp_path, *GOOD), Mapping(kind="web", **{field: names}), DAY)
    assert not objects(store)


def test_unreadable_files_are_kept_with_the_reason_and_the_others_ingested(tmp_path: Path) -> None:
    write_csv(tmp_path, *GOOD)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    store = MemoryStore()
    with pytest.raises(BadInput, match=r"1 of 2 files not readable.*broken\.parquet") as caught:
        ingest_files(store, Config(), tmp_path, Mapping(kind="web"), DAY)
    assert caught.value.exit_code == 3
    assert [p.rows for p in list_partitions(store, "raw")] == [4]
    copy, reason = sorted(objects(store, "quarantine/objects/"))
    assert store.get(copy) == b"PAR1 no"
    assert reason == f"{copy}.reason.json"
    assert "broken.parquet" in store.get_json(reason)["reason"]


def test_half_of_a_damaged_file_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    count = 20_000
    times = [datetime(2024, 5, 1, tzinfo=UTC) + timedelta(seconds=i) for i in range(count)]
    values = np.random.default_rng(0).random(count)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"host": ["a"] * count, "ts": times, "cpu": values}), path, row_group_size=1000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    store = MemoryStore()
    with pytest.raises(BadInput, match="1 of 1 files"):
        ingest_files(store, Config(), path, Mapping(kind="web"), DAY)
    assert not list_partitions(store, "raw")


def test_nothing_usable_is_an_error_that_keeps_the_rows(tmp_path: Path) -> None:
    store = MemoryStore()
    path = write_csv(tmp_path, ",2024-05-01T05:00:00Z,1,1", *(line.replace("05-01", "06-01") for line in GOOD))
    with pytest.raises(BadInput, match=r"no usable telemetry in 2024-05-01.*5 rows read, 1 quarantined, 4 outside"):
        ingest_files(store, Config(), path, Mapping(kind="web"), DAY)
    assert len(quarantined(store, "rows")) == 1


def test_a_clock_that_was_never_set_does_not_stretch_the_run(tmp_path: Path) -> None:
    store = MemoryStore()
    late = [f"b,2031-01-01T0{h}:00:00Z,1,1" for h in range(3)]
    result = ingest_files(store, Config(), write_csv(tmp_path, *GOOD, *late), Mapping(kind="web"), None)
    assert [p.interval for p in result.partitions] == [DAY]
    assert result.quarantined_rows == {"clock_jump": 3}
    assert {r["timestamp_text"][:4] for r in quarantined(store, "rows")} == {"2031"}
    asked = ingest_files(
        MemoryStore(), Config(), tmp_path, Mapping(kind="web"), Interval.parse("2024-01-01", "2032-01-01")
    )
    assert len(asked.partitions) == 2, "an explicit range is taken at its word"


def test_progress_ends_once_at_the_total(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_csv(tmp_path, *GOOD, name=name)
    calls: list[tuple[int, int, str]] = []
    ingest_files(MemoryStore(), Config(), tmp_path, Mapping(kind="web"), DAY, lambda *call: calls.append(call))
    assert [done == total for done, total, _ in calls] == [False] * (len(calls) - 1) + [True]
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)


# --- the law: rows read = kept + quarantined + outside -------------------------------------------------------------

entity = st.sampled_from(["a", "b", "", "__default__", "x" * 600])
moment = st.one_of(
    st.integers(-3, 30).map(lambda h: (DAY.start + timedelta(hours=h)).isoformat()),
    st.sampled_from(["", "noon", "1950-01-01T00:00:00Z", "2024-05-01T03:00:00"]),
)
cell = st.sampled_from(["1", "-2.5", "inf", "nan", "", "oops"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(entity, moment, cell, cell), max_size=30), long=st.booleans(), whole=st.booleans())
def test_every_row_read_is_kept_quarantined_or_outside(rows: list[tuple], long: bool, whole: bool) -> None:
    anchor = [("a", f"2024-05-01T0{h}:00:00Z", "1", "1") for h in range(3)]
    lines = [*anchor, *rows]
    keys = {"host": [r[0] for r in lines], "ts": [r[1] for r in lines]}
    if long:
        table = pa.table({**keys, "metric": ["cpu"] * len(lines), "value": [r[2] for r in lines]})
    else:
        table = pa.table({**keys, "cpu": [r[2] for r in lines], "mem": [r[3] for r in lines]})
    store = MemoryStore()
    interval = None if whole else DAY
    batch = read_batch(table, resolve(Mapping(kind="web"), table, "t"), interval, "t")
    readings = [Reading(interval=interval, origin="t", objects=[[batch]])]
    result = ingest_readings(store, Config(steps={"web": 3600}), "t", readings, interval)
    duplicates = result.quarantined_cells.get("duplicate_cell", 0)
    stored = sum(p.rows for p in result.partitions)
    assert (
        result.read == len(lines) == result.kept + sum(result.quarantined_rows.values()) + duplicates + result.outside
    )
    assert stored <= result.kept if long else stored == result.kept, "samples of one slot are one row"
    kept = sum(
        read_quarantine(store, "rows", kind, day, "day").num_rows
        for kind in ("web", "unknown")
        for day in split(Interval(DAY.start - timedelta(days=2), NEXT.end), "day")
    )
    assert kept == sum(result.quarantined_rows.values())
    before = objects(store)
    ingest_readings(store, Config(steps={"web": 3600}), "t", readings, interval)
    assert objects(store) == before


# --- sources -------------------------------------------------------------------------------------------------------


def test_the_simulator_by_day_equals_its_files_at_once(tmp_path: Path) -> None:
    from fleetalign.simulate.simulation import Simulation

    config = Config(source=SourceConfig(simulator=SimulatorConfig(days=3, entities=8)))
    simulation = Simulation.from_settings(config.source.simulator)
    daily, files = MemoryStore(), MemoryStore()
    for day in split(simulation.interval, "day"):
        ingest_partition(daily, config, day)
    simulation.write(tmp_path)
    ingest_files(files, Config(), tmp_path / "telemetry", Mapping(), None)
    assert objects(daily, "telemetry/") == objects(files, "telemetry/")


def test_a_files_source_needs_a_path() -> None:
    with pytest.raises(ConfigError, match=r"source\.path is empty"):
        ingest_partition(MemoryStore(), Config(source=SourceConfig(type="files")), DAY)


def test_a_day_without_telemetry_is_said() -> None:
    with pytest.raises(BadInput, match="simulator: no usable telemetry in 2024-05-01"):
        ingest_partition(MemoryStore(), Config(), DAY)


def test_real_application_servers(shared_data: Path) -> None:
    store = MemoryStore()
    path = shared_data / "appservers.parquet"
    with pytest.raises(UsageError, match=r"column 'split' looks like a label"):
        ingest_files(store, Config(), path, Mapping(kind="appserver"), None)
    started = time.process_time()
    result = ingest_files(store, Config(), path, Mapping(kind="appserver", ignore=("split", "label")), None)
    assert time.process_time() - started < 10
    assert len(result.partitions) >= 30
    assert (result.read, result.kept, result.quarantined_rows) == (77_760, 77_760, {})
    assert {p.step_seconds for p in result.partitions} == {300}
    assert {len(p.metrics) for p in result.partitions} == {19}


def test_a_real_pod_with_a_wrong_clock(shared_data: Path) -> None:
    store = MemoryStore()
    mapping = Mapping(kind="pod", ignore=("system", "day"))
    result = ingest_files(store, Config(), shared_data / "nezha_metrics.parquet", mapping, None)
    assert [f"{p.interval.start:%Y-%m-%d}" for p in result.partitions] == ["2022-08-22", "2023-01-29"]
    assert list(result.quarantined_rows) == ["clock_jump"]
    strays = quarantined(store, "rows", "pod", result.partitions[0].interval)
    assert {r["timestamp_text"][:4] for r in strays} == {"2028"}


def test_a_step_that_changes_between_days_is_refused_as_day_by_day(tmp_path: Path) -> None:
    def lines(day: int, seconds: int) -> list[str]:
        start = datetime(2024, 5, day, tzinfo=UTC)
        return [f"a,{(start + timedelta(seconds=i * seconds)).isoformat()},1,1" for i in range(86_400 // seconds)]

    path = write_csv(tmp_path, *lines(1, 600), *lines(2, 3600))
    store = MemoryStore()
    with pytest.raises(
        BadInput, match=r"kind web: partitions have different steps \[600, 3600\] s \(first at 2024-05-02\)"
    ):
        ingest_files(store, Config(), path, Mapping(kind="web"), None)
    assert not objects(store)
    result = ingest_files(store, Config(steps={"web": 3600}), path, Mapping(kind="web"), None)
    assert [p.step_seconds for p in result.partitions] == [3600, 3600]
