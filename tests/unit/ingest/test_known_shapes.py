"""Files as other tools export them: InfluxDB, Grafana, sadf, spreadsheets, and files without a header."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetalign.cli import main
from fleetalign.config import Config
from fleetalign.errors import BadInput
from fleetalign.ingest.csv_format import CsvFormat, sniff
from fleetalign.ingest.inspect import Inspection, inspect
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.run import ingest_files
from fleetalign.storage.lake import read_partition
from fleetalign.storage.memory import MemoryStore

START = datetime(2024, 5, 1, tzinfo=UTC)
TIMES = [START + timedelta(minutes=5 * i) for i in range(12)]
ANNOTATIONS = (
    "#group,false,false,true,true,false,false,true,true,true\n"
    "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string\n"
    "#default,_result,,,,,,,,\n"
)
INFLUX_HEADER = ",result,table,_start,_stop,_time,_value,_field,_measurement,host\n"
SADF_HEADER = "# hostname;interval;timestamp;CPU;%user;%idle\n"


def iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def looked_at(path: Path, text: str) -> Inspection:
    path.write_text(text)
    return inspect(path, Mapping())


def rows_of(path: Path, mapping: Mapping) -> list[dict[str, Any]]:
    store = MemoryStore()
    partitions = ingest_files(store, Config(), path, mapping, None).partitions
    return [row for p in partitions for row in read_partition(store, p).drop_columns(["kind"]).to_pylist()]


def influx(field: str, table: int, host: str, first: float, measurement: str = "sys") -> str:
    span = f"{iso(START)},{iso(START + timedelta(days=1))}"
    return "".join(
        f",,{table},{span},{iso(at)},{first + i},{field},{measurement},{host}\n" for i, at in enumerate(TIMES)
    )


@pytest.mark.parametrize("annotations", ["", ANNOTATIONS])
def test_influx_csv_is_long(tmp_path: Path, annotations: str) -> None:
    text = annotations + INFLUX_HEADER + influx("cpu", 0, "web-0", 10) + influx("latency", 1, "web-0", 100)
    found = looked_at(tmp_path / "t.csv", text)
    assert (found.mapping.metric_column, found.mapping.value_column) == ("_field", "_value")
    assert (found.entities, found.step_seconds, found.quarantined_rows) == (["web-0"], 300, {})
    expected = [
        {"entity_id": "web-0", "timestamp": at, "cpu": 10.0 + i, "latency": 100.0 + i} for i, at in enumerate(TIMES)
    ]
    for mapping in (found.mapping, Mapping()):  # as proposed, and without a mapping
        assert rows_of(tmp_path / "t.csv", mapping) == expected


def test_influx_tables_below_each_other(tmp_path: Path) -> None:
    tables = [influx("cpu", 0, "web-0", 10), influx("latency", 1, "web-0", 100)]
    found = looked_at(tmp_path / "t.csv", "\n".join(ANNOTATIONS + INFLUX_HEADER + table for table in tables))
    assert (found.kept, found.quarantined_rows) == (24, {"repeated_header": 4})
    assert len(rows_of(tmp_path / "t.csv", found.mapping)) == 12


def test_a_field_of_two_measurements_is_two_metrics(tmp_path: Path) -> None:
    text = INFLUX_HEADER + influx("used", 0, "web-0", 10, "disk") + influx("used", 1, "web-0", 90, "mem")
    found = looked_at(tmp_path / "t.csv", text)
    assert found.mapping.label_columns == ("_measurement",)
    first = rows_of(tmp_path / "t.csv", found.mapping)[0]
    assert (first["used{_measurement=disk}"], first["used{_measurement=mem}"]) == (10.0, 90.0)


def test_pivoted_influx_keeps_only_measurements(tmp_path: Path) -> None:
    lines = "".join(f",,0,{iso(START)},{iso(at)},{iso(at)},web-0,{i}.5\n" for i, at in enumerate(TIMES))
    found = looked_at(tmp_path / "t.csv", f",result,table,_start,_stop,_time,host,cpu\n{lines}")
    assert [n for n, c in found.columns.items() if c.role == "metric"] == ["cpu"]
    assert [row["cpu"] for row in rows_of(tmp_path / "t.csv", found.mapping)] == [i + 0.5 for i in range(12)]


def test_the_line_in_which_excel_names_the_delimiter_is_skipped(tmp_path: Path) -> None:
    for line in ("sep=;", '"sep=;"', "SEP=;"):
        found = looked_at(tmp_path / "t.csv", f"{line}\nhost;ts;cpu\n" + "".join(f"a;{iso(at)};1\n" for at in TIMES))
        assert (found.kept, found.entities) == (12, ["a"])


def test_a_table_with_a_column_per_entity_is_doubted(tmp_path: Path) -> None:
    for names in ("web-0,web-1,web-2", "cpu{host=a},cpu{host=b},cpu{host=c}", "10.0.0.1:9100,10.0.0.2:9100,db:9100"):
        lines = "".join(f"{iso(at)},{i}.5,{i}.25,{i % 3}.75\n" for i, at in enumerate(TIMES))
        found = looked_at(tmp_path / "t.csv", f"Time,{names}\n{lines}")
        assert any("look like entities, not like metrics" in doubt for doubt in found.doubts), names
    found = looked_at(tmp_path / "t.csv", f"Time,cpu_user,latency,memory\n{lines}")
    assert not any("look like entities" in doubt for doubt in found.doubts)


def test_units_are_named_where_numbers_are_not_read(tmp_path: Path) -> None:
    lines = "".join(f"{iso(at)},{i}.5%,{i} ms,1\n" for i, at in enumerate(TIMES))
    found = looked_at(tmp_path / "t.csv", f"Time,busy,latency,up\n{lines}")
    assert found.mapping.entity_column == "_file"
    assert any("'busy' is left out: '0.5%' is not read as a number" in doubt for doubt in found.doubts)


def sadf(host: str, zone: str = " UTC") -> str:
    return "".join(
        f"{host};300;{at:%Y-%m-%d %H:%M:%S}{zone};{cpu};{i + cpu}.5;{90 - i}.0\n"
        for i, at in enumerate(TIMES)
        for cpu in (-1, 0, 1)
    )


@pytest.mark.parametrize("restart", ["", "kl1;-1;2024-04-30 23:59:01 UTC;LINUX-RESTART\t(8 CPU)\n"])
def test_sadf_keeps_hosts_and_cpus_apart(tmp_path: Path, restart: str) -> None:
    text = restart + SADF_HEADER + sadf("kl1") + restart + SADF_HEADER + sadf("kl2")
    found = looked_at(tmp_path / "t.csv", text)
    assert (found.mapping.entity_column, found.mapping.label_columns) == ("hostname", ("CPU",))
    assert found.entities == [f"{host}/{cpu}" for host in ("kl1", "kl2") for cpu in (-1, 0, 1)]
    assert (found.kept, found.step_seconds) == (72, 300)
    assert found.quarantined_rows == {"repeated_header": 1, **({"restart_line": 2} if restart else {})}
    assert found.num_read == 72 + sum(found.quarantined_rows.values())
    rows = rows_of(tmp_path / "t.csv", found.mapping)
    assert [row["%user"] for row in rows if row["entity_id"] == "kl2/1"] == [i + 1.5 for i in range(12)]
    assert any("column 'CPU' tells series of one entity apart (such as -1, 0, 1)" in doubt for doubt in found.doubts)


@pytest.mark.parametrize(
    "first",
    ["m_1932,1772409600,38,87,22", "a,2024-05-01T00:00:00Z,1,2,3", "a,2024-05-01 00:00:00+02:00,up,x,y", "1,2,3,4,x"],
)
def test_a_file_without_a_header_is_refused_by_both_verbs(tmp_path: Path, first: str, capsys) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{first}\n{first}\n")
    with pytest.raises(BadInput, match=r"t\.csv: the first line holds numbers where names should be.*no header"):
        inspect(path, Mapping())
    mapping = tmp_path / "m.yaml"
    mapping.write_text(f"entity_column: '{first.split(',')[0]}'\ntime_column: '{first.split(',')[1]}'\nkind: w\n")
    asked = ["ingest", "--telemetry", str(path), "--map", str(mapping), "--store", str(tmp_path / "s")]
    assert main(asked) == 3
    assert "the file has no header" in capsys.readouterr().err


@pytest.mark.parametrize("header", ["host,ts,0,1,2,3,4", "time,2024,2025", "host,ts,p50,p99"])
def test_names_that_are_numbers_beside_a_time_are_names(header: str, tmp_path: Path) -> None:
    lines = "".join(
        ",".join("a" if n == "host" else iso(at) if n in ("ts", "time") else "1.5" for n in header.split(",")) + "\n"
        for at in TIMES
    )
    assert looked_at(tmp_path / "t.csv", f"{header}\n{lines}").kept == 12


@pytest.mark.parametrize(
    ("head", "skipped", "delimiter"),
    [
        ("a,b\n1,2\n", 0, ","),
        ("#c\n#d\na;b\nx;y\n", 2, ";"),
        ("# a;b\n1;2\n", 0, ";"),
        ("# exported by hand\n# a;b\n1;2\n", 1, ";"),
        ("\n\na|b\n1|2\n", 2, "|"),
        ("", 0, ","),
    ],
)
def test_what_stands_above_the_header_is_skipped(head: str, skipped: int, delimiter: str) -> None:
    found = sniff(head.encode(), CsvFormat())
    assert (found.skip_lines, found.delimiter) == (skipped, delimiter)
