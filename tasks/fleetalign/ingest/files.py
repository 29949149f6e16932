"""Parquet and CSV files as a stream of tables, so that a file may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from fleetalign.contracts.tables import first_line
from fleetalign.errors import BadInput, UsageError

BATCH_ROWS = 65_536
CSV_BLOCK_BYTES = 8 << 20
PARQUET_SUFFIXES = (".parquet", ".pq")
CSV_SUFFIXES = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """``origin`` is the file's name below the folder that was asked for: it goes into the quarantine."""

    path: Path
    origin: str

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Rows of one file; ``first_row`` counts its data rows from 1.

    ``broken_lines`` are CSV lines with another number of columns than the header, which are not in ``table``.
    """

    table: pa.Table
    first_row: int
    broken_lines: tuple[str, ...]
    bytes_done: int


def list_files(path: str | Path) -> list[SourceFile]:
    """The file, or every file below the folder in name order; names that start with ``.`` or ``_`` are skipped.

    Raises UsageError when there is none.
    """
    path = Path(path)
    if path.is_file():
        return [SourceFile(path, path.name)]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; name a Parquet or CSV file, or a folder of them")
    found = [
        SourceFile(p, p.relative_to(path).as_posix())
        for p in sorted(path.rglob("*"))
        if p.is_file() and not any(part.startswith((".", "_")) for part in p.relative_to(path).parts)
    ]
    if not found:
        raise UsageError(f"{path}: the folder is empty; it must hold Parquet or CSV files")
    return found


def read_batches(file: SourceFile) -> Iterator[FileBatch]:
    """The file's rows in order; CSV columns are all text. At least one batch, which may have no rows.

    Raises BadInput naming the file when it is not readable, also in the middle.
    """
    name = file.path.name.lower()
    if name.endswith(PARQUET_SUFFIXES):
        batches = _parquet(file)
    elif name.endswith(CSV_SUFFIXES):
        batches = _csv(file)
    else:
        raise BadInput(f"{file.origin}: neither Parquet nor CSV; it must end in .parquet, .pq, .csv or .csv.gz")
    try:
        yield from batches
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file.origin}: not readable: {first_line(error)}") from None


def _parquet(file: SourceFile) -> Iterator[FileBatch]:
    with pq.ParquetFile(file.path) as reader:
        total_rows = max(1, reader.metadata.num_rows)
        row = 0
        for batch in reader.iter_batches(batch_size=BATCH_ROWS):
            table = pa.Table.from_batches([batch])
            done = round(file.bytes * (row + table.num_rows) / total_rows)
            yield FileBatch(table, row + 1, (), done)
            row += table.num_rows
        if row == 0:
            yield FileBatch(reader.schema_arrow.empty_table(), 1, (), file.bytes)


def _csv(file: SourceFile) -> Iterator[FileBatch]:
    broken: list[str] = []

    def keep_broken(line: csv.InvalidRow) -> str:
        broken.append(line.text)
        return "skip"

    names = _csv_header(file)
    with pa.OSFile(str(file.path)) as raw:
        stream = _decompressed(file, raw)
        reader = csv.open_csv(
            stream,
            # One thread: broken lines are then reported with the batch they belong to.
            read_options=csv.ReadOptions(block_size=CSV_BLOCK_BYTES, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep_broken),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )
        row, any_batch = 1, False
        for batch in reader:
            taken, broken[:] = tuple(broken), []
            yield FileBatch(pa.Table.from_batches([batch]), row, taken, min(raw.tell(), file.bytes))
            row += batch.num_rows + len(taken)
            any_batch = True
        if broken or not any_batch:
            yield FileBatch(reader.schema.empty_table(), row, tuple(broken), file.bytes)


def _csv_header(file: SourceFile) -> list[str]:
    tolerant = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda line: "skip")
    with (
        pa.OSFile(str(file.path)) as raw,
        csv.open_csv(_decompressed(file, raw), parse_options=tolerant) as reader,
    ):
        return reader.schema.names


def _decompressed(file: SourceFile, raw: pa.NativeFile) -> pa.NativeFile:
    return pa.CompressedInputStream(raw, "gzip") if file.path.name.lower().endswith(".gz") else raw
