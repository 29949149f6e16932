"""Marks in numbers: a decimal comma needs a proof, thousands are understood or doubted, and values are right."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fleetalign.config import Config
from fleetalign.errors import ConfigError, UsageError
from fleetalign.ingest.inspect import Inspection, inspect
from fleetalign.ingest.mapping import Mapping, resolve
from fleetalign.ingest.numbers import to_float64
from fleetalign.ingest.run import ingest_files
from fleetalign.storage.lake import read_partition
from fleetalign.storage.memory import MemoryStore

PLAIN = ["556", "538", "571", "612", "640", "999"]
THOUSANDS = ["1,010", "1,105", "2,001", "1,999", "1,500", "1,234"]


def looked_at(path: Path, cells: list[str], more: list[str] | None = None) -> Inspection:
    lines = [f"a;2024-05-01T{i // 60:02d}:{i % 60:02d}:00Z;{cell};{(more or cells)[i]}" for i, cell in enumerate(cells)]
    path.write_text("\n".join(["host;ts;m;other", *lines]) + "\n", encoding="utf-8")
    return inspect(path, Mapping())


def values(path: Path, found: Inspection) -> list[float]:
    store = MemoryStore()
    (partition,) = ingest_files(store, Config(), path, found.mapping, None).partitions
    return read_partition(store, partition)["m"].to_pylist()


@pytest.mark.parametrize(
    ("cells", "marks", "numbers"),
    [
        ([*PLAIN, *THOUSANDS], ("", ","), [556, 538, 571, 612, 640, 999, 1010, 1105, 2001, 1999, 1500, 1234]),
        (["555.8", "1,009.8", "2,345.25"], ("", ","), [555.8, 1009.8, 2345.25]),
        (["1,234,567", "12"], ("", ","), [1234567, 12]),
        (["21,270.000", "20,740.000"], ("", ","), [21270, 20740]),
        (["31,5", "1,010"], (",", ""), [31.5, 1.01]),
        (["0,125", "1,010"], (",", ""), [0.125, 1.01]),
        (["1.009,8", "12,5", "2.345.678"], (",", "."), [1009.8, 12.5, 2345678]),
        (["1 010", "999", "1 234.5"], ("", " "), [1010, 999, 1234.5]),
        (["1\u00a0010,5", "999"], (",", " "), [1010.5, 999]),
        (["1\u202f010", "999,25"], (",", " "), [1010, 999.25]),
        (["1'010.5", "999"], ("", "'"), [1010.5, 999]),
        (["-1,010.5", "+2,000"], ("", ","), [-1010.5, 2000]),
    ],
)
def test_marks_that_are_proved_are_proposed_and_read(tmp_path: Path, cells, marks, numbers) -> None:
    found = looked_at(tmp_path / "t.csv", cells)
    assert found.mapping.marks == marks
    assert not found.quarantined_cells
    assert values(tmp_path / "t.csv", found) == numbers
    mark = marks[1] or "decimal comma"
    assert any(mark in doubt for doubt in found.doubts)


def test_a_comma_before_three_digits_alone_proves_nothing(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "t.csv", THOUSANDS)
    assert found.mapping.marks == ("", "")
    assert any("'1,010' in 'm' is 1010 or 1.010" in doubt for doubt in found.doubts)
    with pytest.raises(UsageError, match=r"'m' is not numeric .*such as '1,010'; with decimal: \",\" or .*thousands"):
        sample = pa.table({"host": ["a"] * 6, "ts": ["2024-05-01T00:00:00Z"] * 6, "m": THOUSANDS})
        resolve(Mapping(), sample, "f")


def test_points_before_three_digits_beside_whole_numbers_are_doubted(tmp_path: Path) -> None:
    cells = [*PLAIN, *(cell.replace(",", ".") for cell in THOUSANDS)]
    found = looked_at(tmp_path / "t.csv", cells)
    assert found.mapping.marks == ("", "")
    assert any("'1.010' in 'm' is read as a fraction, but may be 1010" in doubt for doubt in found.doubts)
    usual = looked_at(tmp_path / "u.csv", ["1.010", "0.125", "2.001", "5", "1.500", "1.234"])
    assert not any("fraction" in doubt for doubt in usual.doubts)


def test_columns_that_contradict_each_other_are_doubted_and_nothing_is_proposed(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "t.csv", ["31,5", "30,9"], ["1,009.8", "555.8"])
    assert found.mapping.marks == ("", "")
    assert any("decimal mark in 'm'" in doubt and "thousands in 'other'" in doubt for doubt in found.doubts)


def test_marks_of_the_long_layout(tmp_path: Path) -> None:
    rows = "".join(f"a;2024-05-01T00:0{i}:00Z;m;{cell}\n" for i, cell in enumerate(["1,009.8", "555.8"]))
    (tmp_path / "t.csv").write_text(f"host;ts;metric;value\n{rows}")
    found = inspect(tmp_path / "t.csv", Mapping())
    assert found.mapping.marks == ("", ",")
    assert values(tmp_path / "t.csv", found) == [1009.8, 555.8]


@pytest.mark.parametrize("text", ["1,01", "10,10", "1,0100", ",123", "1,234.5.6"])
def test_thousands_that_do_not_cut_into_threes_are_no_number(text: str) -> None:
    numbers, bad = to_float64(pa.chunked_array([[text]]), ".", ",")
    assert (numbers.to_pylist(), bad.tolist()) == ([None], [True])


@pytest.mark.parametrize("marks", [{"thousands": ";"}, {"thousands": "."}, {"thousands": ",", "decimal": ","}])
def test_wrong_marks_are_refused(marks: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="thousands"):
        Mapping(**marks)
