"""What a file would be read as: the role of every column, a mapping to say so, and every doubt about it.

The mapping is proposed from the first rows of each file; everything else is counted from the rows as ingest reads
them with it, so that what is said here is what ingest does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.errors import BadInput, UsageError
from fleetalign.ingest.batch import Batch
from fleetalign.ingest.files import read_batches, text_format
from fleetalign.ingest.listing import SourceFile, list_files
from fleetalign.ingest.long import series_of
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.propose import Column, propose
from fleetalign.ingest.run import read_file
from fleetalign.ingest.sampling import infer_step_seconds
from fleetalign.interval import format_time
from fleetalign.storage.quarantine import count_rules

DEFAULTS = Mapping()


@dataclass(slots=True)
class Inspection:
    """``rows`` = ``kept`` + ``taken_out`` rows. Cells that were taken out are counted in ``bad_cells``."""

    files: list[str]
    columns: dict[str, Column]
    mapping: Mapping
    doubts: list[str]
    rows: int = 0
    kept: int = 0
    taken_out: dict[str, int] = field(default_factory=dict)
    bad_cells: dict[str, int] = field(default_factory=dict)
    entities: list[str] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None
    step_seconds: int | None = None

    @property
    def proposal(self) -> dict[str, str | list[str]]:
        """The mapping as its YAML file would hold it: what is set, and nothing else."""
        filled = {f.name: getattr(self.mapping, f.name) for f in dataclasses.fields(Mapping)}
        named = {name: value for name, value in filled.items() if value != getattr(DEFAULTS, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in named.items()}

    def as_json(self) -> dict[str, Any]:
        """Everything found, as one JSON document."""
        return {
            "files": self.files,
            "columns": {name: {"role": c.role, "reason": c.reason} for name, c in self.columns.items()},
            "mapping": self.proposal,
            "ambiguities": self.doubts,
            "rows": self.rows,
            "kept": self.kept,
            "quarantined_rows": self.taken_out,
            "quarantined_cells": self.bad_cells,
            "entities": self.entities,
            "first": format_time(self.first) if self.first else None,
            "last": format_time(self.last) if self.last else None,
            "step_seconds": self.step_seconds,
        }


def inspect(path: str | Path, given: Mapping) -> Inspection:
    """Look at every file of ``path``; what ``given`` says is not guessed.

    Raises UsageError when no mapping fits, BadInput when no file can be read.
    """
    columns: dict[str, Column] = {}
    mapping, described, doubts, readable = given, [], [], []
    for file in list_files(path):
        try:
            sample = next(read_batches(file, given.csv_format)).table
            described.append(_describe(file, sample, given))
        except BadInput as error:
            doubts.append(f"left out: {error}")
            continue
        proposed = propose(mapping, sample, file)
        mapping = proposed.mapping
        doubts += [f"{file.origin}: {doubt}" for doubt in proposed.doubts]
        columns = {**proposed.columns, **columns}
        readable.append(file)
    if not readable:
        raise BadInput(f"{path}: no file can be read; first: {doubts[0]}")
    found = Inspection(described, columns, mapping, list(dict.fromkeys(doubts)))
    _count(found, readable)
    return found


def _describe(file: SourceFile, sample: pa.Table, given: Mapping) -> str:
    if file.is_parquet:
        return f"{file.origin}: Parquet, {len(sample.schema)} columns"
    written = text_format(file, given.csv_format)
    packed = f", {file.compression}" if file.compression else ""
    return f"{file.origin}: text in {written.encoding.removesuffix('-sig')}{packed}, delimiter {written.delimiter!r}, {len(sample.schema)} columns"


def _count(found: Inspection, files: list[SourceFile]) -> None:
    kept: list[pa.Table] = []
    for file in files:
        try:
            batches = read_file(file, found.mapping, None, set())
        except BadInput as error:
            found.doubts.append(f"left out: {error}")
            continue
        except UsageError as error:
            found.doubts.append(f"ingest refuses the whole: {error}")
            continue
        for batch in batches:
            _add(found, batch)
            kept.append(batch.kept.select(["entity_id", "timestamp", *(["metric"] if batch.is_long else [])]))
    table = pa.concat_tables(kept, promote_options="default").combine_chunks() if kept else None
    if table is None or table.num_rows == 0:
        found.doubts.append("not one row can be used")
        return
    found.kept = table.num_rows
    found.entities = sorted(pc.unique(table["entity_id"]).to_pylist())
    found.first, found.last = pc.min_max(table["timestamp"]).as_py().values()
    _find_step(found, table)
    _doubt_counts(found, table)


def _add(found: Inspection, batch: Batch) -> None:
    found.rows += batch.read
    for counted, table in ((found.taken_out, batch.rows), (found.bad_cells, batch.cells)):
        for rule, number in count_rules(table).items():
            counted[rule] = counted.get(rule, 0) + number


def _find_step(found: Inspection, table: pa.Table) -> None:
    if "metric" in table.schema.names:
        series = series_of(table)
    else:
        series = table["entity_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    try:
        found.step_seconds = infer_step_seconds(series, table["timestamp"].to_numpy(), found.mapping.kind or "default")
    except BadInput as error:
        found.doubts.append(str(error))


def _doubt_counts(found: Inspection, table: pa.Table) -> None:
    doubt = found.doubts.append
    for what, counted in (("rows", found.taken_out), ("cells", found.bad_cells)):
        for rule, number in counted.items():
            doubt(f"{number} {what} go to the quarantine: {rule}")
    counts = pc.value_counts(table["entity_id"].combine_chunks())
    once = [c["values"] for c in counts.to_pylist() if c["counts"] == 1]
    if once and len(found.entities) > 1:
        doubt(f"{len(once)} entities have one row only, such as {once[0]!r}")
    if len(found.entities) > 10 and len(found.entities) > table.num_rows / 2:
        doubt(
            f"{len(found.entities)} entities in {table.num_rows} rows: is {found.mapping.entity_column!r} the entity?"
        )
    if "metric" not in table.schema.names:
        twice = table.num_rows - table.group_by(["entity_id", "timestamp"]).aggregate([]).num_rows
        if twice:
            doubt(f"{twice} rows repeat the time of another row of their entity; validation keeps the last")
    if found.first and found.last and (found.last - found.first).days > 2 * 365:
        doubt(f"the rows span {(found.last - found.first).days} days: a clock may be wrong")
