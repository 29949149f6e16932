"""The guess of the entity is tested: it makes times unique, is no number, and ids are written in one way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleetalign.cli import main
from fleetalign.config import Config
from fleetalign.errors import UsageError
from fleetalign.ingest.inspect import Inspection, inspect, inspection_text
from fleetalign.ingest.mapping import Mapping, mapping_from, resolve
from fleetalign.ingest.run import ingest_files
from fleetalign.storage.lake import read_partition
from fleetalign.storage.memory import MemoryStore

TIMES = [f"{datetime(2024, 5, 1, tzinfo=UTC) + timedelta(minutes=i):%Y-%m-%dT%H:%M:%SZ}" for i in range(40)]


def looked_at(path: Path, header: str, lines: list[str]) -> Inspection:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")
    return inspect(path, Mapping())


def has_doubt(found: Inspection, words: str) -> bool:
    return any(words in doubt for doubt in found.doubts)


@pytest.mark.parametrize("cell", ["{}.5", "{},5", "1.00{},5", "1,00{}.5", "{}.5 ms", "{}%", "1 00{}", "{}e-3"])
def test_numbers_in_any_format_name_no_entity(tmp_path: Path, cell: str) -> None:
    for host in ("a", "b"):
        lines = [f"{at};{cell.format(i % 7)};{i}.25" for i, at in enumerate(TIMES)]
        looked_at(tmp_path / "d" / f"{host}.csv", "timestamp;cpu;latency", lines)
    found = inspect(tmp_path / "d", Mapping())
    assert (found.mapping.entity_column, found.entities, found.step_seconds) == ("_file", ["a", "b"], 60)


def test_of_two_usual_names_the_one_that_makes_times_unique_wins(tmp_path: Path) -> None:
    lines = [f"{at},node-1,{pod},{i}.5" for i, at in enumerate(TIMES) for pod in ("p1", "p2")]
    found = looked_at(tmp_path / "t.csv", "ts,host,pod,cpu", lines)
    assert (found.mapping.entity_column, found.entities) == ("pod", ["p1", "p2"])
    assert has_doubt(found, "'host' is no entity: 'pod' makes times unique")
    sample = pa.table({"ts": ["1", "1"], "host": ["n", "n"], "pod": ["a", "b"], "cpu": ["1", "2"]})
    assert resolve(Mapping(ignore=("host",)), sample, "f").entity_column == "pod"


def test_a_usual_name_over_fractions_is_a_metric(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "t.csv", "ts,node,cpu", [f"{at},{i % 5}.5,{i}.25" for i, at in enumerate(TIMES)])
    assert (found.mapping.entity_column, found.columns["node"].role) == ("_file", "metric")


def test_a_date_beside_the_time_names_no_entity(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "t.csv", "Date,ts,cpu", [f"10/9/17,{at},1.5" for at in TIMES])
    assert (found.mapping.entity_column, found.mapping.time_column) == ("_file", "ts")


def prometheus(modes: tuple[str, ...] = ("idle", "user"), job: str = "node") -> list[str]:
    return [
        f"node_cpu,10.0.0.{host}:9100,{job},{cpu},{mode},{at},{100 * cpu + 10 * m + host}"
        for at in TIMES
        for host in (1, 2)
        for cpu in (0, 1)
        for m, mode in enumerate(modes)
    ] + [f"node_load1,10.0.0.{host}:9100,{job},,,{at},{host}.5" for at in TIMES for host in (1, 2)]


def test_label_columns_go_into_the_names_of_metrics(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "t.csv", "__name__,instance,job,cpu,mode,timestamp,value", prometheus())
    assert found.mapping.label_columns == ("cpu", "mode")
    assert has_doubt(found, "columns 'cpu' and 'mode' tell series of one entity apart (such as 0, 1; idle, user)")
    store = MemoryStore()
    result = ingest_files(store, Config(), tmp_path / "t.csv", found.mapping, None)
    table = read_partition(store, result.partitions[0])
    assert (result.quarantined_cells, table.num_rows) == ({}, 80)
    first = table.to_pylist()[0]
    assert {k: v for k, v in first.items() if k.startswith("node")} == {
        "node_cpu{cpu=0,mode=idle}": 1.0,
        "node_cpu{cpu=0,mode=user}": 11.0,
        "node_cpu{cpu=1,mode=idle}": 101.0,
        "node_cpu{cpu=1,mode=user}": 111.0,
        "node_load1": 1.5,
    }


def test_a_measurement_never_tells_series_apart(tmp_path: Path) -> None:
    lines = [f"a,{at},{i},{i % 3}" for i, at in enumerate(TIMES)] + [
        f"a,{at},{i + 1},{i % 2}" for i, at in enumerate(TIMES)
    ]
    found = looked_at(tmp_path / "t.csv", "host,ts,requests,level", lines)
    assert found.mapping.label_columns == ()
    assert has_doubt(found, "40 rows repeat the time of another row of their entity, with another value")


def test_rows_that_complete_each_other_are_no_doubt(tmp_path: Path) -> None:
    lines = [f"a,{at},{cells}" for at in TIMES for cells in ("1.5,,", ",2.5,", ",,3.5")]
    found = looked_at(tmp_path / "t.csv", "host,ts,cpu,latency,requests", lines)
    assert not has_doubt(found, "repeat")
    for name in ("cpu", "latency"):
        looked_at(tmp_path / "d" / f"{name}.csv", f"host,ts,{name}", [f"a,{at},1.5" for at in TIMES])
    assert not has_doubt(inspect(tmp_path / "d", Mapping()), "repeat")


def test_label_columns_are_columns_and_keep_their_names() -> None:
    sample = pa.table({"host": ["a"], "ts": ["2024-05-01T00:00:00Z"], "cpu": ["1"]})
    with pytest.raises(UsageError, match="label_columns: 'mode' is not a column"):
        resolve(Mapping(label_columns=("mode",)), sample, "f")
    assert mapping_from({"label_columns": ["mode "], "entity_column": " host"}, "m").label_columns == ("mode",)
    assert mapping_from({"delimiter": "\t"}, "m").delimiter == "\t"


def test_blanks_around_ids_and_names_go_and_case_is_doubted(tmp_path: Path) -> None:
    ids = ["web-1", "web-1 ", "WEB-1", "web-2", " web-2", "web-2\u00a0"]
    lines = [f"{ids[i % 2]},{at},1" for i, at in enumerate(TIMES)]
    lines += [f"{ids[3 + i % 3]},{at},1" for i, at in enumerate(TIMES)] + [f"WEB-1,{at},1" for at in TIMES]
    found = looked_at(tmp_path / "t.csv", " host , timestamp,cpu\t", lines)
    assert (found.entities, found.step_seconds, list(found.columns)) == (
        ["WEB-1", "web-1", "web-2"],
        60,
        ["timestamp", "host", "cpu"],
    )
    assert has_doubt(found, "'WEB-1' and 'web-1' differ by case only")


def test_an_id_of_blanks_is_no_id(tmp_path: Path) -> None:
    found = looked_at(
        tmp_path / "t.csv", "host,ts,cpu", [f"{'  ' if i == 3 else 'a'},{at},1" for i, at in enumerate(TIMES)]
    )
    assert found.quarantined_rows == {"missing_entity": 1}


@pytest.mark.parametrize("name", [None, "row", "__index_level_0__"])
def test_the_index_of_a_frame_is_no_metric(tmp_path: Path, name: str | None, caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"host": "a", "timestamp": TIMES, "cpu": [float(i % 7) for i in range(40)]})
    frame.index.name = name
    frame[frame.index % 7 != 3].to_parquet(tmp_path / "t.parquet")
    left_out = name or "__index_level_0__"
    found = inspect(tmp_path / "t.parquet", Mapping())
    assert found.mapping.ignore == (left_out,)
    assert has_doubt(found, f"{left_out!r} is left out: the index of a pandas frame")
    store = MemoryStore()
    (partition,) = ingest_files(store, Config(), tmp_path / "t.parquet", Mapping(), None).partitions
    assert read_partition(store, partition).schema.names == ["kind", "entity_id", "timestamp", "cpu"]
    assert f"left out: {left_out!r}" in caplog.text
    on_purpose = ingest_files(MemoryStore(), Config(), tmp_path / "t.parquet", Mapping(metrics=("cpu", left_out)), None)
    assert on_purpose.partitions


def test_an_index_that_names_a_key_stays_a_key(tmp_path: Path) -> None:
    frame = pd.DataFrame({"host": "a", "timestamp": pd.to_datetime(TIMES), "cpu": 1.5}).set_index(["host", "timestamp"])
    frame.to_parquet(tmp_path / "t.parquet")
    found = inspect(tmp_path / "t.parquet", Mapping())
    assert (found.entities, found.kept, found.mapping.ignore) == (["a"], 40, ())


@pytest.mark.parametrize("name", ["__index_level_0__", "__index_level_1__", "", "Unnamed: 0", "Row", "index"])
def test_an_index_without_metadata_is_left_out(tmp_path: Path, name: str) -> None:
    found = looked_at(tmp_path / "t.csv", f"{name},host,ts,cpu", [f"{i},a,{at},1.5" for i, at in enumerate(TIMES)])
    assert found.columns[name].role == "ignored"
    assert [n for n, c in found.columns.items() if c.role == "metric"] == ["cpu"]
    table = pa.table({name: list(range(40)), "host": ["a"] * 40, "ts": TIMES, "cpu": [1.5] * 40})
    pq.write_table(table, tmp_path / "t.parquet")
    assert resolve(Mapping(), table, "f").metrics == ("cpu",)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Attack LABLE (1:No Attack, -1:Attack)", [1, -1]),
        ("attack_state", [-1, 1]),
        ("class", [0, 1, 101]),
        ("event_class", [0, 3, 7]),
        ("fault_type", [0, 2]),
        ("faultType", [0, 2, 5]),
        ("root_cause", [0, 3]),
        ("severity", [0, 4]),
        ("is_faulty", [0, 1]),
        ("Normal/Attack", [0, 1]),
        ("label_binary", [1, 2]),
    ],
)
def test_labels_of_any_coding_are_left_out_and_refused(tmp_path: Path, name: str, values: list[int]) -> None:
    lines = [f"a,{at},{i}.5,{values[i % len(values)]}" for i, at in enumerate(TIMES)]
    found = looked_at(tmp_path / "t.csv", f'host,ts,cpu,"{name}"', lines)
    assert found.columns[name].role == "label"
    assert has_doubt(found, "looks like the answer")
    with pytest.raises(UsageError, match="looks like a label"):
        ingest_files(MemoryStore(), Config(), tmp_path / "t.csv", Mapping(), None)


@pytest.mark.parametrize(
    "name", ["fault_count", "page_faults", "severity_per_minute", "class_loader_bytes", "replicas"]
)
def test_measurements_stay(tmp_path: Path, name: str) -> None:
    found = looked_at(tmp_path / "t.csv", f"host,ts,{name}", [f"a,{at},{3 + i % 5}" for i, at in enumerate(TIMES)])
    assert found.columns[name].role == "metric"


def test_a_counter_is_doubted_and_a_gauge_is_not(tmp_path: Path) -> None:
    lines = [
        f"{host},{at},{i * 7 + (i * 13) % 5},{i * 3 if i < 20 else (i - 20) * 3},{(i * 7) % 11},100,{i // 30}"
        for i, at in enumerate(TIMES)
        for host in ("a", "b", "c")
    ]
    found = looked_at(tmp_path / "t.csv", "host,ts,bytes_total,restarted,load,disk,state", lines)
    doubted = [d.split("'")[1] for d in found.doubts if "only grows" in d]
    assert doubted == ["bytes_total"] or doubted == ["bytes_total", "restarted"]


def test_metrics_that_end_or_begin_inside_the_range_are_doubted(tmp_path: Path) -> None:
    lines = [f"a,{at},{i % 5},{i % 5 if i < 20 else ''},{'' if i < 20 else i % 5}," for i, at in enumerate(TIMES)]
    found = looked_at(tmp_path / "t.csv", "host,ts,cpu,latency,delay,gpu", lines)
    assert has_doubt(found, "metric 'latency' ends at 2024-05-01T00:19:00Z, 0.333 h before the telemetry does")
    assert has_doubt(found, "metric 'delay' begins at 2024-05-01T00:20:00Z, 0.333 h after the telemetry does")
    assert not has_doubt(found, "metric 'cpu'")


def test_at_most_twenty_doubts_of_a_kind_and_their_number(tmp_path: Path) -> None:
    names = [f"m{i:03d}" for i in range(300)]
    found = looked_at(tmp_path / "t.csv", ",".join(["host", "ts", *names]), [f"a,{at}" + "," * 300 for at in TIMES])
    of_a_kind = [doubt for doubt in found.doubts if "has no value" in doubt]
    assert len(of_a_kind) == 20
    assert has_doubt(found, "… and 280 more of 300: metrics without a value")
    assert len(inspection_text(found).splitlines()) < 300


def test_inspect_ends_with_3_when_no_row_can_be_used(tmp_path: Path, capsys) -> None:
    lines = [f"a,03/02/2026 12:0{i % 10}:00 AM,1" for i in range(10)]
    (tmp_path / "t.csv").write_text("\n".join(["host,ts,cpu", *lines]) + "\n")
    out = tmp_path / "m.yaml"
    assert main(["inspect", str(tmp_path / "t.csv"), "--out", str(out)]) == 3
    said = capsys.readouterr()
    assert "'ts' holds no time that is read here, such as 03/02/2026 12:00:00 AM" in said.err
    assert "unreadable_time" in said.out
    assert out.exists()


def test_times_that_repeat_between_files_only_ask_for_the_file(tmp_path: Path) -> None:
    for host in ("a", "b"):
        lines = [f"eu,{at},{i % 5 + ord(host)}" for i, at in enumerate(TIMES)]
        looked_at(tmp_path / "d" / f"{host}.csv", "region,ts,cpu", lines)
    found = inspect(tmp_path / "d", Mapping())
    assert has_doubt(found, "40 rows repeat the time")
    assert has_doubt(found, "no file repeats a time by itself: is each one entity (_file)?")
