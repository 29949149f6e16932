from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleetalign.errors import BadInput, UsageError
from fleetalign.ingest import files
from fleetalign.ingest.files import read_batches
from fleetalign.ingest.listing import SourceFile, list_files


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def only(path: Path) -> SourceFile:
    (file,) = list_files(path)
    return file


def test_a_folder_lists_its_files_by_name_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.csv", "a/z.parquet", "_SUCCESS", ".hidden", "_tmp/x.csv", "a/note.txt"):
        write(tmp_path / name, "x")
    assert [f.origin for f in list_files(tmp_path)] == ["a/note.txt", "a/z.parquet", "b.csv"]


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        list_files(tmp_path / "none")
    with pytest.raises(UsageError, match="is empty"):
        list_files(tmp_path)


def test_parquet_comes_in_batches_with_row_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_ROWS", 4)
    pq.write_table(pa.table({"x": range(10)}), tmp_path / "t.parquet")
    batches = list(read_batches(only(tmp_path / "t.parquet")))
    assert [b.first_row for b in batches] == [1, 5, 9]
    assert pa.concat_tables([b.table for b in batches])["x"].to_pylist() == list(range(10))
    assert batches[-1].bytes_done == only(tmp_path / "t.parquet").size


@pytest.mark.parametrize("compressed", [False, True])
def test_csv_is_text_with_nulls(tmp_path: Path, compressed: bool) -> None:
    text = 'host,ts,cpu\na,2024-01-01T00:00:00Z,1\n"b,c",,\n'
    path = tmp_path / ("t.csv.gz" if compressed else "t.csv")
    path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    (batch,) = read_batches(only(path))
    assert batch.table.to_pylist() == [
        {"host": "a", "ts": "2024-01-01T00:00:00Z", "cpu": "1"},
        {"host": "b,c", "ts": None, "cpu": None},
    ]


def test_csv_keeps_text_that_appears_after_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CSV_BLOCK_BYTES", 1000)
    write(tmp_path / "t.csv", "cpu\n" + "1\n" * 2000 + "oops\n")
    batches = list(read_batches(only(tmp_path / "t.csv")))
    assert len(batches) > 1
    assert batches[-1].table["cpu"][-1].as_py() == "oops"
    assert batches[-1].first_row + batches[-1].table.num_rows - 1 == 2001


def test_csv_lines_of_another_width_are_kept_apart(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n")
    batches = list(read_batches(only(tmp_path / "t.csv")))
    assert pa.concat_tables([b.table for b in batches])["a"].to_pylist() == ["1", "7"]
    assert [line for b in batches for line in b.broken_lines] == ["3", "4,5,6"]


@pytest.mark.parametrize("good", [0, 1, 1000])
def test_broken_lines_at_the_end_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: int) -> None:
    monkeypatch.setattr(files, "CSV_BLOCK_BYTES", 1000)
    write(tmp_path / "t.csv", "a,b\n" + "1,2\n" * good + "3\n" * 2000)
    batches = list(read_batches(only(tmp_path / "t.csv")))
    assert sum(b.table.num_rows for b in batches) == good
    assert sum(len(b.broken_lines) for b in batches) == 2000


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_a_file_with_a_header_alone_gives_one_empty_batch(tmp_path: Path, name: str) -> None:
    empty = pa.table({"host": pa.array([], pa.string()), "cpu": pa.array([], pa.float64())})
    if name == "t.csv":
        write(tmp_path / name, "host,cpu\n")
    else:
        pq.write_table(empty, tmp_path / name)
    (batch,) = read_batches(only(tmp_path / name))
    assert (batch.table.schema.names, batch.table.num_rows) == (["host", "cpu"], 0)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.csv", b""),
        ("latin.csv", b"host,cpu\nM\xfcnchen,1\n"),
        ("not.parquet", b"PAR1 but not really PAR1"),
        ("not.csv.gz", b"plain text"),
        ("readme.txt", b"hello"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=name):
        list(read_batches(only(tmp_path / name)))


def test_a_file_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": [float(i) * 1.1 for i in range(10_000)]}), path, row_group_size=1000)
    data = bytearray(path.read_bytes())
    data[40_000:41_000] = bytes(1000)
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"t\.parquet: not readable"):
        list(read_batches(only(path)))


def test_a_batch_of_parquet_is_bounded_by_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_CELLS", 1_000)
    pq.write_table(pa.table({f"m{i}": np.arange(95.0) for i in range(100)}), tmp_path / "wide.parquet")
    batches = list(files.read_batches(list_files(str(tmp_path / "wide.parquet"))[0]))
    assert [(batch.first_row, batch.table.num_rows) for batch in batches] == [
        (1 + 10 * i, min(10, 95 - 10 * i)) for i in range(10)
    ]


def test_a_header_longer_than_a_block_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CSV_BLOCK_BYTES", 4_096)
    names = [f"a_long_name_of_a_series_{i:05d}" for i in range(4_000)]
    lines = [",".join(["time", *names]), *(",".join([f"2026-03-02T0{h}:00:00Z", *["1"] * 4_000]) for h in range(3))]
    (tmp_path / "wide.csv").write_text("\n".join(lines) + "\n")
    batches = list(files.read_batches(list_files(str(tmp_path / "wide.csv"))[0]))
    assert sum(batch.table.num_rows for batch in batches) == 3
    assert batches[0].table.num_columns == 4_001
