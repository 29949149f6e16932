"""Reads Parquet and CSV files as streams of tables: a file may be larger than memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from fleetalign.contracts.tables import first_line
from fleetalign.errors import BadInput
from fleetalign.ingest.csv_format import HEAD_BYTES, CsvFormat, column_name, holds_values, names_nothing, sniff
from fleetalign.ingest.listing import SourceFile
from fleetalign.ingest.mapping import TIME_NAMES

BATCH_ROWS = 65_536
BATCH_CELLS = 1 << 26
"""Cells of a batch of Parquet: rows of 100,000 columns fill memory sooner."""
CSV_BLOCK_BYTES = 8 << 20
WIDE_BLOCK_BYTES = 64 << 20
"""Block of a text file whose header does not end in its head: one line may be longer than a usual block."""
LINE_BREAK = r"[\r\n]+"


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Rows of one file."""

    table: pa.Table
    first_row: int
    """Number of the first row among the data rows of the file, from 1."""
    broken_lines: tuple[str, ...]
    """CSV lines with another number of columns than the header; they are not in ``table``."""
    bytes_done: int


def read_batches(file: SourceFile, csv_format: CsvFormat = CsvFormat()) -> Iterator[FileBatch]:  # noqa: B008 - frozen
    """Yield the file's rows in order; CSV columns are all text.

    At least one batch, which may have no rows.
    Raises BadInput naming the file when it is not readable, also in the middle.
    """
    if file.is_parquet:
        batches = _parquet(file)
    elif file.is_text:
        batches = _csv(file, csv_format)
    else:
        raise BadInput(
            f"{file.origin}: neither Parquet nor CSV; it must end in .parquet, .pq, .csv or .tsv "
            "(text also in .gz or .zst)"
        )
    try:
        yield from batches
    except UnicodeError as error:
        raise BadInput(f"{file.origin}: not readable: {first_line(error)}; name its encoding in the mapping") from None
    except (pa.ArrowException, OSError) as error:
        hint = "; name its encoding in the mapping" if "UTF8" in str(error) else ""
        raise BadInput(f"{file.origin}: not readable: {first_line(error)}{hint}") from None


def text_format(file: SourceFile, csv_format: CsvFormat) -> CsvFormat:
    """Return the format of a text file; empty fields of ``csv_format`` are guessed."""
    with file.open() as raw:
        return sniff(_decompressed(file, raw).read(HEAD_BYTES), csv_format)


def _parquet(file: SourceFile) -> Iterator[FileBatch]:
    with file.open() as raw, pq.ParquetFile(raw) as reader:
        total_rows = max(1, reader.metadata.num_rows)
        row, schema = 0, reader.schema_arrow
        most_rows = max(1, BATCH_CELLS // max(1, len(schema)))
        for batch in reader.iter_batches(batch_size=min(BATCH_ROWS, most_rows)):
            table = _renamed(pa.Table.from_batches([batch])).replace_schema_metadata(schema.metadata)
            done = round(file.size * (row + table.num_rows) / total_rows)
            yield FileBatch(table, row + 1, (), done)
            row += table.num_rows
        if row == 0:
            yield FileBatch(_renamed(schema.empty_table()), 1, (), file.size)


def _csv(file: SourceFile, csv_format: CsvFormat) -> Iterator[FileBatch]:
    written = text_format(file, csv_format)
    broken = list(written.restarts)

    def keep_broken(line: csv.InvalidRow) -> str:
        broken.append(line.text)
        return "skip"

    # One thread: broken lines are then reported with the batch they belong to.
    read = csv.ReadOptions(
        block_size=CSV_BLOCK_BYTES if written.first_row else WIDE_BLOCK_BYTES,
        use_threads=False,
        encoding=written.encoding,
        skip_rows=written.skip_lines,
    )
    parse = csv.ParseOptions(
        delimiter=written.delimiter, newlines_in_values=True, invalid_row_handler=lambda line: "skip"
    )
    with file.open() as raw, csv.open_csv(_decompressed(file, raw), read, parse) as reader:
        names = reader.schema.names
    if names_nothing(names, written.first_row) and not {name.strip().lower() for name in names} & set(TIME_NAMES):
        raise BadInput(
            f"{file.origin}: the first line holds numbers where names should be, such as {_first_value(names)!r}: the "
            "file has no header; put the names of the columns above it"
        )
    parse.invalid_row_handler = keep_broken
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
    )
    # Closed, because a reader that still reads ahead when the interpreter ends aborts the process.
    with file.open() as raw, csv.open_csv(_decompressed(file, raw), read, parse, convert) as reader:
        row, any_batch = 1, False
        for batch in reader:
            taken, broken[:] = tuple(broken), []
            part = FileBatch(_renamed(pa.Table.from_batches([batch])), row, taken, min(raw.tell(), file.size))
            _refuse_open_quote(part, written.delimiter, file.origin)
            yield part
            row += batch.num_rows + len(taken)
            any_batch = True
        if broken or not any_batch:
            part = FileBatch(_renamed(reader.schema.empty_table()), row, tuple(broken), file.size)
            _refuse_open_quote(part, written.delimiter, file.origin)
            yield part


def _renamed(table: pa.Table) -> pa.Table:
    return table.rename_columns([column_name(name) for name in table.schema.names])


def _first_value(names: list[str]) -> str:
    return next(name for name in names if holds_values([name]))


def _decompressed(file: SourceFile, raw: pa.NativeFile) -> pa.NativeFile:
    return pa.CompressedInputStream(raw, file.compression) if file.compression else raw


def _refuse_open_quote(part: FileBatch, delimiter: str, origin: str) -> None:
    """Raise BadInput for an open quote: the rows after it would vanish in one cell."""
    cells = [(part.first_row, line) for line in part.broken_lines]
    for column in part.table.columns:
        if not any(_holds_line_break(chunk) for chunk in column.chunks):
            continue
        spans_lines = pc.fill_null(pc.match_substring_regex(column, LINE_BREAK), False).to_numpy()
        cells += [(part.first_row + int(i), column[int(i)].as_py()) for i in np.flatnonzero(spans_lines)]
    for row, text in cells:
        if any(_looks_like_row(line, delimiter, part.table.num_columns) for line in re.split(LINE_BREAK, text)[1:]):
            raise BadInput(
                f"{origin}: near row {row} a quote is opened and not closed, and swallows the lines after it; "
                "close it or take it out"
            )


def _holds_line_break(texts: pa.Array) -> bool:
    """Tell whether any of ``texts`` holds a line break.

    It looks into their bytes, since a file may have 100,000 columns.
    """
    data = texts.buffers()[-1]
    found = data.to_pybytes() if data is not None else b""
    return b"\n" in found or b"\r" in found


def _looks_like_row(line: str, delimiter: str, num_columns: int) -> bool:
    """Prose has blanks after its commas; rows seldom do."""
    fields = line.split(delimiter)
    return len(fields) == num_columns and not any(field[:1].isspace() for field in fields)
