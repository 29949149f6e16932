"""Files of requests into files of ``span_stats`` and telemetry, without a store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.tables import QUARANTINED_ROWS, to_parquet
from fleetalign.errors import BadInput, StoreError, UsageError
from fleetalign.ingest.listing import PARQUET_SUFFIXES, list_files
from fleetalign.ingest.spans.reader import SpansRead, read_spans
from fleetalign.ingest.spans.source import configured_mapping, step_seconds
from fleetalign.interval import LENGTHS, Interval, format_time
from fleetalign.progress import Progress
from fleetalign.spans.statistics import joined, telemetry
from fleetalign.storage import layout
from fleetalign.storage.connect import open_store

QUARANTINED = "quarantined_rows.parquet"


@dataclass(frozen=True, slots=True)
class Aggregated:
    """What ``aggregate`` read and wrote."""

    found: SpansRead
    files: tuple[str, ...]
    step_seconds: int
    refused: str
    """Files and rows that were set aside, in one line; empty without any."""

    def as_json(self) -> dict[str, Any]:
        """Return what was done as a JSON document."""
        return {
            "files": list(self.files),
            "step_seconds": self.step_seconds,
            "rows": self.found.table.num_rows,
            **self.found.counts,
            "warnings": self.found.notes,
        }

    def text(self) -> str:
        """Describe what was done in one line."""
        table, counts = self.found.table, self.found.counts
        ends = pc.min_max(table["timestamp"])
        return (
            f"{counts['requests'] + counts['merged']} requests of {pc.count_distinct(table['entity_id'])} entities in "
            f"windows of {self.step_seconds} s from {format_time(ends['min'].as_py())} to "
            f"{format_time(ends['max'].as_py())}: {', '.join(self.files)}"
        )


def aggregate(
    config: Config,
    paths: Sequence[str],
    out: str,
    interval: Interval | None = None,
    telemetry_path: str | None = None,
    progress: Progress | None = None,
) -> Aggregated:
    """Aggregate the requests of files and write the table.

    ``out`` is one file, or a folder that gets one per kind and partition. What cannot be used lies next to it in ``_quarantined_rows.parquet``; files that cannot be read stay where they are.
    Raises UsageError for paths that overlap, BadInput without one usable request; nothing is written then.
    """
    _refuse_overlap(paths, out)
    _check_file(telemetry_path)
    mapping = configured_mapping(config)
    step = step_seconds(config, mapping)
    files = [file for path in paths for file in list_files(path)]
    found = read_spans(files, mapping, interval, step, config.partition, progress, config.storage.scratch_dir)
    reasons = (
        [f"{len(found.refused)} of {len(files)} files not readable and left out: {found.refused[0].reason}"]
        if (found.refused)
        else []
    )
    reasons += [f"set aside: {found.set_aside}"] if found.set_aside else []
    if found.table.num_rows == 0:
        counts = ", ".join(f"{number} {name}" for name, number in found.counts.items() if number) or "0 read"
        raise BadInput(f"{', '.join(paths)}: no usable request ({counts}); " + "; ".join(reasons or found.notes))
    steps = pc.unique(found.table["step_seconds"]).to_pylist()
    if steps != [step]:
        raise BadInput(f"{', '.join(paths)}: the tables have windows of {steps[0]} s; add --step {steps[0]}")
    written = [_put(where, data) for where, data in _tables(found, out, config)]
    written += _put_quarantined(found.rows, out.rstrip("/"))
    if telemetry_path:
        written.append(_put(telemetry_path, to_parquet(joined(list(telemetry(found.table, config.partition))))))
    return Aggregated(found, tuple(written), step, "; ".join(reasons))


def _tables(found: SpansRead, out: str, config: Config) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of each file of the table."""
    if _is_file(out):
        yield out, to_parquet(found.table)
        return
    days = pc.floor_temporal(found.table["timestamp"], unit=config.partition)
    for kind in pc.unique(found.table["kind"]).to_pylist():
        of_kind = pc.equal(found.table["kind"], kind)
        for start in pc.unique(days.filter(of_kind)).to_pylist():
            part = found.table.filter(pc.and_(of_kind, pc.equal(days, pa.scalar(start, days.type))))
            path = layout.partition_path(kind, Interval(start, start + LENGTHS[config.partition]), config.partition)
            yield f"{out.rstrip('/')}/{path}/span_stats.parquet", to_parquet(part)


def _put_quarantined(rows: pa.Table, out: str) -> list[str]:
    """Write the quarantined rows next to the table, or delete those of an earlier call."""
    folder, _, name = out.rpartition("/")
    where = f"{folder}/_{name.rpartition('.')[0]}_{QUARANTINED}" if _is_file(out) else f"{out}/_{QUARANTINED}"
    where = where if folder or not _is_file(out) else where[1:]
    if rows.num_rows:
        return [_put(where, to_parquet(QUARANTINED_ROWS.conform(rows.drop_columns(["at"]))))]
    if "://" in where:
        prefix, _, key = where.rpartition("/")
        open_store(prefix).delete(key)
    else:
        Path(where).unlink(missing_ok=True)
    return []


def _put(where: str, data: bytes) -> str:
    """Create or replace a file or an object: readers see the old or the new bytes."""
    if "://" in where:
        folder, _, name = where.rpartition("/")
        open_store(folder).put(name, data)
        return where
    path = Path(where)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"{where}: {error.strerror}; check the disk and its permissions") from None
    return where


def _is_file(out: str) -> bool:
    return out.lower().endswith(PARQUET_SUFFIXES)


def _refuse_overlap(paths: Sequence[str], out: str) -> None:
    """Raise UsageError when requests, or the output of an earlier call, would be read twice."""
    local = [Path(path).resolve() for path in paths if "://" not in path]
    for i, path in enumerate(local):
        for other in local[i + 1 :]:
            if path.is_relative_to(other) or other.is_relative_to(path):
                raise UsageError(f"aggregate: {other} and {path} overlap; name each file once")
        if "://" not in out and Path(out).resolve().is_relative_to(path):
            raise UsageError(f"aggregate: --out {out} lies in {path}, and would be read by the next call; move it")


def _check_file(path: str | None) -> None:
    if path and not _is_file(path):
        raise UsageError(f"aggregate: --telemetry is {path}; name a file that ends in .parquet")
