"""Delimiters, encodings and decimal marks of text files, and what paths say."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fleetalign.config import Config
from fleetalign.errors import BadInput, ConfigError, UsageError
from fleetalign.ingest.csv_format import CsvFormat, sniff
from fleetalign.ingest.files import read_batches
from fleetalign.ingest.listing import list_files, with_path_columns
from fleetalign.ingest.mapping import Mapping, resolve
from fleetalign.ingest.numbers import to_float64
from fleetalign.ingest.run import ingest_files
from fleetalign.storage.lake import read_partition
from fleetalign.storage.memory import MemoryStore


@pytest.mark.parametrize(
    ("head", "delimiter"),
    [
        ("a,b;c,d\n", ","),
        ('"a,b,c";d;e\n1,5;2,5;3\n', ";"),
        ("a\tb\tc\n", "\t"),
        ("\ufeffa|b\n", "|"),
        ("\n\na;b\n", ";"),
        ("alone\n", ","),
        ("", ","),
    ],
)
def test_the_delimiter_cuts_the_header_into_most_columns(head: str, delimiter: str) -> None:
    assert sniff(head.encode(), CsvFormat()) == CsvFormat(delimiter, "utf-8-sig")


@pytest.mark.parametrize(
    ("data", "given"),
    [
        ("host;cpu\nMünchen;1\n".encode("utf-8-sig"), CsvFormat()),
        ("host;cpu\nMünchen;1\n".encode("utf-16"), CsvFormat()),
        ("host;cpu\nMünchen;1\n".encode("cp1252"), CsvFormat(encoding="cp1252")),
        ("host^cpu\nMünchen^1\n".encode(), CsvFormat(delimiter="^")),
        (b"host;cpu\r\nM\xc3\xbcnchen;1\r\n", CsvFormat(encoding="UTF8")),
    ],
)
def test_encodings_marks_and_other_delimiters(tmp_path: Path, data: bytes, given: CsvFormat) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    (file,) = list_files(tmp_path)
    assert pa.concat_tables([b.table for b in read_batches(file, given)]).to_pylist() == [
        {"host": "München", "cpu": "1"}
    ]


@pytest.mark.parametrize("line", ["München,1", "München,1,in a broken line"])
def test_a_wrong_encoding_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.csv").write_bytes(f"host,cpu\n{line}\n".encode("cp1252"))
    (file,) = list_files(tmp_path)
    for given in (CsvFormat(), CsvFormat(encoding="ascii")):
        with pytest.raises(BadInput, match=r"t\.csv: not readable.*name its encoding"):
            list(read_batches(file, given))


@pytest.mark.parametrize(
    ("text", "number"), [("31,5", 31.5), (",5", 0.5), ("-1,25e3", -1250.0), ("7", 7.0), ("nan", None), ("", None)]
)
def test_a_decimal_comma(text: str, number: float | None) -> None:
    values, bad = to_float64(pa.chunked_array([[text]]), ",")
    assert (values.to_pylist(), bad.tolist()) == ([number], [False])


@pytest.mark.parametrize("text", ["31.5", "1.234,5", "1,2,3"])
def test_with_a_decimal_comma_a_point_is_no_number(text: str) -> None:
    values, bad = to_float64(pa.chunked_array([[text]]), ",")
    assert (values.to_pylist(), bad.tolist()) == ([None], [True])


def test_a_decimal_comma_is_named_but_not_guessed() -> None:
    sample = pa.table({"host": ["a"], "ts": ["2024-05-01T00:00:00Z"], "cpu": ["31,5"]})
    with pytest.raises(UsageError, match=r'not numeric.*decimal: ","'):
        resolve(Mapping(), sample, "f")
    assert resolve(Mapping(decimal=","), sample, "f").metrics == ("cpu",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("delimiter", ";;"),
        ("delimiter", '"'),
        ("delimiter", "·"),
        ("decimal", ";"),
        ("encoding", "latin-99"),
        ("encoding", "rot13"),
    ],
)
def test_a_wrong_text_format_is_refused(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=field):
        Mapping(**{field: value})


def test_prose_that_spans_lines_is_no_open_quote(tmp_path: Path) -> None:
    text = 'host,ts,note\na,1,"disk full, then\nrestarted, twice, by hand"\nb,2,ok\n'
    (tmp_path / "t.csv").write_text(text)
    (file,) = list_files(tmp_path)
    assert [len(b.table) for b in read_batches(file)] == [2]


def test_what_a_path_says(tmp_path: Path) -> None:
    path = tmp_path / "kind=web" / "eu" / "host=a%2Fb" / "day=__HIVE_DEFAULT_PARTITION__" / "part.1.csv.gz"
    path.parent.mkdir(parents=True)
    path.touch()
    (file,) = list_files(tmp_path)
    assert file.path_columns == {"_file": "eu/part.1", "kind": "web", "host": "a/b", "day": None}
    table = with_path_columns(pa.table({"kind": ["db"] * 2}), file, ("kind", "host", "day", "other"))
    assert table.to_pydict() == {"kind": ["db"] * 2, "host": ["a/b"] * 2, "day": [None] * 2}


def test_a_key_of_the_path_is_never_a_metric_and_never_a_guessed_time(tmp_path: Path) -> None:
    folder = tmp_path / "date=2024-05-01" / "hour=00"
    folder.mkdir(parents=True)
    (folder / "t.csv").write_text("host,at,cpu\na,2024-05-01T00:00:00Z,1\na,2024-05-01T01:00:00Z,2\n")
    with pytest.raises(UsageError, match="as time_column"):
        ingest_files(MemoryStore(), Config(), tmp_path, Mapping(ignore=("at",)), None)
    store = MemoryStore()
    result = ingest_files(store, Config(), tmp_path, Mapping(time_column="at"), None)
    assert read_partition(store, result.partitions[0]).schema.names == ["kind", "entity_id", "timestamp", "cpu"]


def test_a_prefix_an_object_and_nothing_in_a_bucket(moto_s3) -> None:
    import boto3

    for key in ("t/1.csv", "t/_SUCCESS", "t/deep/2.csv", "t/.hidden/3.csv"):
        boto3.client("s3").put_object(Bucket="fleet", Key=key, Body=b"host,cpu\na,1\n")
    assert [f.origin for f in list_files("s3://fleet/t")] == ["1.csv", "deep/2.csv"]
    (file,) = list_files("s3://fleet/t/1.csv")
    assert (file.origin, file.size, file.content()) == ("1.csv", 13, b"host,cpu\na,1\n")
    with pytest.raises(UsageError, match="nothing is stored there"):
        list_files("s3://fleet/none")
