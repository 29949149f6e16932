"""What ``inspect`` proposes is what ``ingest`` reads: each example of docs/data.md, and single doubts."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from fleetalign.cli import main
from fleetalign.config import Config
from fleetalign.errors import BadInput, UsageError
from fleetalign.ingest.inspect import Inspection, inspect, inspection_text, mapping_yaml
from fleetalign.ingest.mapping import Mapping, load_mapping
from fleetalign.ingest.run import ingest_files
from fleetalign.storage.lake import read_partition
from fleetalign.storage.memory import MemoryStore

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
EXAMPLES = re.findall(r"<!-- example: (\S+) -->\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
NAMES = sorted({name.split("/")[0] for name, _ in EXAMPLES})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    if path.suffix == ".parquet":
        pq.write_table(csv.read_csv(pa.BufferReader(data)), path)
    elif path.suffix == ".zst":
        path.write_bytes(pa.compress(data, "zstd", asbytes=True))
    else:
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def looked_at(tmp_path: Path, text: str, name: str = "t.csv", given: Mapping = Mapping()) -> Inspection:  # noqa: B008
    write(tmp_path / name, text)
    return inspect(tmp_path / name, given)


def has_doubt(found: Inspection, words: str) -> bool:
    return any(words in doubt for doubt in found.doubts)


def test_the_page_has_an_example_of_each() -> None:
    assert NAMES == ["comma.csv", "hive", "long.csv.gz", "per-entity", "seconds.csv.zst", "semicolon.csv"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("remote", [False, True])
def test_every_documented_example_is_read_with_the_proposed_mapping(name: str, remote: bool, tmp_path: Path, request):
    for path, text in EXAMPLES:
        if path.split("/")[0] == name:
            write(tmp_path / "in" / path, text)
    where = str(tmp_path / "in" / name)
    if remote:
        s3 = request.getfixturevalue("moto_s3")
        where = _uploaded(s3.uri, tmp_path / "in", name)
    found = inspect(where, Mapping())
    (tmp_path / "mapping.yaml").write_text(mapping_yaml(found))
    store = MemoryStore()
    result = ingest_files(store, Config(), where, load_mapping(tmp_path / "mapping.yaml"), None)
    table = read_partition(store, result.partitions[0])
    minutes = [datetime(2024, 5, 1, 0, m, tzinfo=UTC) for m in (0, 5)]
    assert table.drop_columns(["kind"]).to_pydict() == {
        "entity_id": ["web-1", "web-1", "web-2", "web-2"],
        "timestamp": minutes * 2,
        "cpu": [31.5, 30.9, 12.25, 12.5],
        "latency": [120.0, None, 80.0, 81.0],
    }
    assert (found.kept, found.num_read) == (result.kept, result.read)
    assert (found.step_seconds, found.entities) == (result.partitions[0].step_seconds, ["web-1", "web-2"])
    assert (found.first, found.last) == (minutes[0], minutes[1])


def _uploaded(uri: str, folder: Path, name: str) -> str:
    import boto3

    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = f"deep/{path.relative_to(folder).as_posix()}"
            boto3.client("s3").put_object(Bucket="fleet", Key=key, Body=path.read_bytes())
    return f"{uri}/deep/{name}"


def test_the_command_prints_everything_and_writes_the_mapping(tmp_path: Path, capsys) -> None:
    write(tmp_path / "t.csv", dict(EXAMPLES)["semicolon.csv"])
    out = tmp_path / "mapping.yaml"
    assert main(["inspect", str(tmp_path / "t.csv"), "--out", str(out), "--kind", "web"]) == 0
    said = capsys.readouterr().out
    for part in ("delimiter ';'", "decimal mark  ,", "4 read, 4 kept", "2, such as web-1", "300 s", "UTC is a guess"):
        assert part in said
    assert re.search(r"^Host +entity +a usual name$", said, re.MULTILINE)
    assert re.search(r"^cpu +metric ", said, re.MULTILINE)
    mapping = load_mapping(out)
    assert (mapping.kind, mapping.decimal, mapping.time_zone) == ("web", ",", "UTC")


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("host,ts,cpu\na,2024-05-01T00:00:00Z,1\na,2024-05-01T01:00:00Z,x\n", "holds text such as 'x'"),
        (
            "host,ts,cpu,label\na,2024-05-01T00:00:00Z,1,0\na,2024-05-01T01:00:00Z,1,1\n",
            "'label' looks like the answer",
        ),
        ("host,ts,cpu,gpu\na,2024-05-01T00:00:00Z,1,\na,2024-05-01T01:00:00Z,1,\n", "metric 'gpu' has no value"),
        ("host,ts,cpu\na,2024-05-01T00:00:00Z,1\na,2024-05-01T00:00:00Z,2\n", "1 rows repeat the time"),
        ("host,ts,cpu\na,2024-05-01T00:00:00Z,1\na,2031-05-01T00:00:00Z,2\n", "a clock may be wrong"),
        ("host,ts,cpu\na,2024-05-01T00:00:00Z,1\na,never,2\n", "1 rows go to the quarantine: unreadable_time"),
        ("host,ts,cpu\na,2024-05-01T00:00:00Z,1\n", "no entity has two samples"),
        ("host,ts,cpu\na,2024-05-01T00:00:00Z,1\na,2024-05-01T01:00:00Z,1\nb,2024-05-01T00:00:00Z,1\n", "one row only"),
    ],
)
def test_doubts_are_named(tmp_path: Path, text: str, doubt: str) -> None:
    found = looked_at(tmp_path, text)
    assert has_doubt(found, doubt), found.doubts
    assert doubt.split(" ")[0] in inspection_text(found)


def test_columns_with_unusual_names_are_found_and_doubted(tmp_path: Path) -> None:
    rows = [f"eu,{'ab'[i % 2]},2024-05-01T0{i // 2}:00:00Z,{i}" for i in range(8)]
    found = looked_at(tmp_path, "\n".join(["Region,Rechner,Zeit,cpu", *rows]) + "\n")
    assert (found.mapping.entity_column, found.mapping.time_column) == ("Rechner", "Zeit")
    assert (found.mapping.ignore, found.columns["cpu"].role) == (("Region",), "metric")
    assert has_doubt(found, "'Rechner' is text whose values repeat")


def test_what_is_given_is_not_guessed(tmp_path: Path) -> None:
    text = "host,pod,ts,cpu,mem\n" + "".join(f"h,p{i % 2},2024-05-01T0{i}:00:00Z,1,2\n" for i in range(6))
    found = looked_at(tmp_path, text, given=Mapping(entity_column="pod", metrics=("mem",), kind="web"))
    assert found.proposal == {
        "entity_column": "pod",
        "time_column": "ts",
        "kind": "web",
        "layout": "wide",
        "metrics": ["mem"],
    }
    assert found.entities == ["p0", "p1"]


def test_unreadable_files_are_doubts_beside_others_and_errors_alone(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", dict(EXAMPLES)["comma.csv"])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    assert has_doubt(inspect(tmp_path, Mapping()), "left out: b.parquet: not readable")
    with pytest.raises(BadInput, match="no file can be read"):
        inspect(tmp_path / "b.parquet", Mapping())
    write(tmp_path / "c.csv", "cpu,mem\n1,2\n")
    with pytest.raises(UsageError, match="no column reads as a time"):
        inspect(tmp_path / "c.csv", Mapping())
