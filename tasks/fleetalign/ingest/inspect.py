"""Inspects files before ingest: the roles of columns, a proposed mapping, and all doubts.

The mapping is proposed from the first rows of each file; everything else is counted from the rows as ingest reads
them with it, so that an inspection reports what ingest would do.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.errors import BadInput, UsageError
from fleetalign.ingest.batch import Batch
from fleetalign.ingest.doubts import Doubts
from fleetalign.ingest.file_source import read_file
from fleetalign.ingest.files import read_batches, text_format
from fleetalign.ingest.listing import FILE_COLUMN, SourceFile, list_files
from fleetalign.ingest.long import series_of
from fleetalign.ingest.mapping import DEFAULT_KIND, Mapping
from fleetalign.ingest.propose import NO_TIME, Column, propose
from fleetalign.ingest.sampling import infer_step_seconds, times_of
from fleetalign.ingest.series_doubts import doubt_ids, doubt_metrics, num_repeats
from fleetalign.interval import format_time
from fleetalign.storage.quarantine import count_rules
from fleetalign.validate.raw_warnings import own_intervals

DEFAULTS = Mapping()
MOST_FILES = 5
MOST_COLUMNS = 200
UNREADABLE = "files that cannot be read"


@dataclass(slots=True)
class Inspection:
    """What ingest would make of files."""

    files: list[str]
    columns: dict[str, Column]
    mapping: Mapping
    doubts: list[str]
    num_read: int = 0
    """Rows read: those kept and those in ``quarantined_rows``."""
    kept: int = 0
    quarantined_rows: dict[str, int] = field(default_factory=dict)
    """Number of rows per rule."""
    quarantined_cells: dict[str, int] = field(default_factory=dict)
    """Number of cells per rule."""
    entities: list[str] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None
    step_seconds: int | None = None

    @property
    def proposal(self) -> dict[str, str | list[str]]:
        """The mapping as its YAML file would hold it: only what is set."""
        filled = {f.name: getattr(self.mapping, f.name) for f in dataclasses.fields(Mapping)}
        named = {name: value for name, value in filled.items() if value != getattr(DEFAULTS, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in named.items()}

    @property
    def reason(self) -> str:
        """Why no row can be used: the worst doubt."""
        refused = [d for d in self.doubts if d.startswith(("left out: ", "ingest refuses")) or NO_TIME in d]
        return next(iter([*refused, *self.doubts]), "none was read")

    def as_json(self) -> dict[str, Any]:
        """Return everything found as one JSON document."""
        return {
            "files": self.files,
            "columns": {name: {"role": c.role, "reason": c.reason} for name, c in self.columns.items()},
            "mapping": self.proposal,
            "ambiguities": self.doubts,
            "rows": self.num_read,
            "kept": self.kept,
            "quarantined_rows": self.quarantined_rows,
            "quarantined_cells": self.quarantined_cells,
            "entities": self.entities,
            "first": format_time(self.first) if self.first else None,
            "last": format_time(self.last) if self.last else None,
            "step_seconds": self.step_seconds,
        }


def inspect(path: str | Path, named: Mapping) -> Inspection:
    """Inspect every file of ``path``; what ``named`` holds is not guessed.

    Raises UsageError when no mapping fits, BadInput when no file can be read.
    """
    columns: dict[str, Column] = {}
    mapping = named
    described: list[str] = []
    doubts = Doubts()
    readable: list[SourceFile] = []
    for file in list_files(path):
        try:
            sample = next(read_batches(file, named.csv_format)).table
            described.append(_describe(file, sample, named))
        except BadInput as error:
            doubts.add(UNREADABLE, f"left out: {error}")
            continue
        proposed = propose(mapping, sample, file)
        mapping = proposed.mapping
        doubts.extend(proposed.doubts, file.origin)
        columns = {**proposed.columns, **columns}
        readable.append(file)
    if not readable:
        raise BadInput(f"{path}: no file can be read; first: {doubts.lines()[0]}")
    found = Inspection(described, columns, mapping, [])
    _count(found, readable, doubts)
    found.doubts = doubts.lines()
    return found


def _describe(file: SourceFile, sample: pa.Table, named: Mapping) -> str:
    if file.is_parquet:
        return f"{file.origin}: Parquet, {len(sample.schema)} columns"
    written = text_format(file, named.csv_format)
    packed = f", {file.compression}" if file.compression else ""
    return f"{file.origin}: text in {written.encoding.removesuffix('-sig')}{packed}, delimiter {written.delimiter!r}, {len(sample.schema)} columns"


def _count(found: Inspection, files: list[SourceFile], doubts: Doubts) -> None:
    kept: list[pa.Table] = []
    repeats_of_files = 0
    for file in files:
        try:
            batches = read_file(file, found.mapping, None, set())
        except BadInput as error:
            doubts.add(UNREADABLE, f"left out: {error}")
            continue
        except UsageError as error:
            doubts.add("files that ingest refuses", f"ingest refuses all files: {error}")
            continue
        for batch in batches:
            _add(found, batch)
            kept.append(batch.kept)
        repeats_of_files += num_repeats(pa.concat_tables([b.kept for b in batches], promote_options="default"))
    for what, counted in (("rows", found.quarantined_rows), ("cells", found.quarantined_cells)):
        for rule, number in counted.items():
            doubts.add("quarantine", f"{number} {what} go to the quarantine: {rule}")
    table = pa.concat_tables(kept, promote_options="default").combine_chunks() if kept else None
    if table is None or table.num_rows == 0:
        doubts.add("no row", "no row can be used")
        return
    found.kept = table.num_rows
    found.entities = sorted(pc.unique(table["entity_id"]).to_pylist())
    found.first, found.last = pc.min_max(table["timestamp"]).as_py().values()
    _find_step(found, table, doubts)
    _doubt_counts(found, table, doubts)
    doubt_ids(found.entities, doubts)
    if num := num_repeats(table):
        doubts.add("repeated times", f"{num} {_repeated(table)}, with another value; the last one is kept")
        if not repeats_of_files and found.mapping.entity_column != FILE_COLUMN:
            doubts.add("repeated times", f"no file repeats a time by itself: is each one entity ({FILE_COLUMN})?")
    doubt_metrics(table, found.step_seconds, doubts)


def _repeated(table: pa.Table) -> str:
    if "metric" in table.schema.names:
        return "values repeat the time of another value of their metric"
    return "rows repeat the time of another row of their entity"


def _add(found: Inspection, batch: Batch) -> None:
    found.num_read += batch.read
    for counted, table in ((found.quarantined_rows, batch.rows), (found.quarantined_cells, batch.cells)):
        for rule, number in count_rules(table).items():
            counted[rule] = counted.get(rule, 0) + number


def _find_step(found: Inspection, table: pa.Table, doubts: Doubts) -> None:
    try:
        found.step_seconds = infer_step_seconds(
            series_of(table, "metric" in table.schema.names), times_of(table), found.mapping.kind or DEFAULT_KIND
        )
    except BadInput as error:
        doubts.add("sampling interval", str(error))
        return
    for sentence in own_intervals(found.mapping.kind or DEFAULT_KIND, table, found.step_seconds):
        doubts.add("sampling interval", sentence)


def _doubt_counts(found: Inspection, table: pa.Table, doubts: Doubts) -> None:
    counts = pc.value_counts(table["entity_id"].combine_chunks())
    once = [c["values"] for c in counts.to_pylist() if c["counts"] == 1]
    if once and len(found.entities) > 1:
        doubts.add("lone rows", f"{len(once)} entities have one row only, such as {once[0]!r}")
    if len(found.entities) > 10 and len(found.entities) > table.num_rows / 2:
        doubts.add(
            "number of entities",
            f"{len(found.entities)} entities in {table.num_rows} rows: is {found.mapping.entity_column!r} the entity?",
        )
    if found.first and found.last and (found.last - found.first).days > 2 * 365:
        doubts.add("range", f"the rows span {(found.last - found.first).days} days: a clock may be wrong")


def inspection_text(found: Inspection) -> str:
    """Render an inspection: files, figures, columns, doubts, and the proposed mapping."""
    return "\n\n".join(
        "\n".join(lines)
        for lines in (
            _shortened(found.files, MOST_FILES, "files"),
            _figures(found),
            _columns(found),
            ["doubts", *(f"  - {_one_line(doubt)}" for doubt in found.doubts or ["none"])],
            ["proposed mapping", *(f"  {line}" for line in mapping_yaml(found).splitlines())],
        )
    )


def mapping_yaml(found: Inspection) -> str:
    """Render the proposed mapping as YAML."""
    import yaml

    return str(yaml.safe_dump(found.proposal, sort_keys=False, allow_unicode=True))


def _figures(found: Inspection) -> list[str]:
    span = f"{format_time(found.first)} to {format_time(found.last)}" if found.first and found.last else "none"
    example = f", such as {_one_line(found.entities[0])}" if found.entities else ""
    figures = {
        "layout": found.mapping.layout,
        "decimal mark": found.mapping.decimal or ".",
        "thousands": found.mapping.thousands or "none",
        "rows": f"{found.num_read} read, {found.kept} kept, {sum(found.quarantined_rows.values())} to the quarantine",
        "entities": f"{len(found.entities)}{example}",
        "range": span,
        "step": f"{found.step_seconds} s" if found.step_seconds else "unknown",
    }
    return [f"{name:<14}{value}" for name, value in figures.items()]


def _columns(found: Inspection) -> list[str]:
    width = max(len("column"), *(len(_one_line(name)) for name in found.columns))
    lines = [f"{_one_line(name):<{width}}  {c.role:<12}{_one_line(c.reason)}" for name, c in found.columns.items()]
    return [f"{'column':<{width}}  {'role':<12}why", *_shortened(lines, MOST_COLUMNS, "columns")]


def _shortened(lines: list[str], most: int, what: str) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"… and {len(lines) - most} more {what}"]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
