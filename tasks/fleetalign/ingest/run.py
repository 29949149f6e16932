"""Telemetry from tables, files or the configured source into raw partitions (contracts 1.3, 2.1, 2.2).

A run replaces the partitions of its range that its source has rows for; equal input changes no byte. What is kept
and what is quarantined adds up to what was read, or the run fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config, SourceConfig
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.tables import TIME
from fleetalign.errors import BadInput, ConfigError, UsageError
from fleetalign.feedback.files import read_feedback_file
from fleetalign.ingest.batch import Batch, read_batch, texts
from fleetalign.ingest.files import read_batches
from fleetalign.ingest.header import refuse_other_header
from fleetalign.ingest.listing import SourceFile, list_files, with_path_columns
from fleetalign.ingest.mapping import Mapping, load_mapping, resolve
from fleetalign.ingest.numbers import plain
from fleetalign.ingest.raw_partitions import IngestResult, Intake, merged
from fleetalign.interval import Interval, format_time, split
from fleetalign.progress import Progress
from fleetalign.storage import layout
from fleetalign.storage.quarantine import Rule, quarantine_object
from fleetalign.storage.statements import append_feedback
from fleetalign.storage.store import Store

DEFAULT_KIND = "default"
"""Kind of telemetry that names none."""
READING = "read telemetry"
OWN_MAPPING = Mapping(entity_column="entity_id", time_column="timestamp", kind_column="kind", layout="wide")
"""Tables that our own code makes."""


def ingest_tables(
    store: Store,
    config: Config,
    tables: Iterable[pa.Table],
    mapping: Mapping,
    interval: Interval | None,
    origin: str,
    progress: Progress | None = None,
    *,
    replace: bool = False,
) -> IngestResult:
    """Write the raw partitions of ``tables``, whose columns ``mapping`` describes.

    ``interval`` None takes the tables' own range. ``origin`` names them in the quarantine and in messages.
    Raises UsageError when the columns do not fit the mapping, BadInput when nothing lies in ``interval``.
    """
    intake = Intake(interval, origin)
    row = 1
    for table in tables:
        intake.add([read_batch(table, _resolve(mapping, table, origin), interval, origin, row)])
        row += table.num_rows
    if progress:
        progress(row - 1, row - 1, origin)
    return _finish(intake, store, config, origin, replace)


def ingest_files(
    store: Store,
    config: Config,
    path: str | Path,
    mapping: Mapping,
    interval: Interval | None,
    progress: Progress | None = None,
    *,
    replace: bool = False,
) -> IngestResult:
    """Write the raw partitions of a Parquet or CSV file, or of a folder or ``s3://`` prefix of them.

    A file that cannot be read is copied to the quarantine with the reason beside it; the others are ingested, then
    BadInput is raised. Raises UsageError when a file's columns do not fit ``mapping`` (before anything is written), and
    without ``replace`` BadInput when a stored partition holds entities or times that the files lack.
    """
    files = list_files(path)
    intake = Intake(interval, Path(path).name)
    unreadable: list[str] = []
    seen: set[str] = set()
    total = sum(f.bytes for f in files)
    done = 0
    for file in files:
        try:
            # All or nothing: half of a file whose end is unreadable must not look like the whole.
            intake.add(read_file(file, mapping, interval, seen, progress, done, total))
        except BadInput as error:
            unreadable.append(str(error))
            quarantine_object(store, file.origin, file.content(), str(error))
        done += file.bytes
    if progress:
        progress(total, total, READING)
    damage = BadInput(
        f"{path}: {len(unreadable)} of {len(files)} files not readable and copied to quarantine/objects/, the others "
        f"ingested; repair or remove them and run again. First: {next(iter(unreadable), '')}"
    )
    if len(unreadable) == len(files):
        raise damage
    _check_all_found(mapping, seen, str(path))
    result = _finish(intake, store, config, str(path), replace)
    if unreadable:
        raise damage
    return result


def ingest_partition(
    store: Store, config: Config, interval: Interval, progress: Progress | None = None
) -> IngestResult:
    """Ingest ``interval`` from the configured source, with the feedback recorded before ``interval.end``."""
    source = config.source
    if source.type == "simulator":
        from fleetalign.simulate.simulation import Simulation

        simulation = Simulation.from_source(source)
        fresh = append_feedback(store, _recorded_before(simulation.feedback(), interval))
        config = dataclasses.replace(config, steps={k.name: k.step_seconds for k in simulation.kinds} | config.steps)
        tables = [table for table in simulation.telemetry(interval).values() if table.num_rows]
        result = ingest_tables(store, config, tables, OWN_MAPPING, interval, "simulator", progress, replace=True)
        return dataclasses.replace(result, feedback_statements=fresh)
    fresh = 0
    if source.type == "files" and not source.path:
        raise ConfigError("source.type is files but source.path is empty; name a file or folder in params.yaml")
    if source.feedback_path:
        feedback = read_feedback_file(source.feedback_path, source.kind or DEFAULT_KIND, store=store)
        fresh = append_feedback(store, _recorded_before(feedback, interval))
    if source.type == "prometheus":
        result = _ingest_prometheus(store, config, interval, progress)
    else:
        result = ingest_files(store, config, source.path, source_mapping(source), interval, progress, replace=True)
    return dataclasses.replace(result, feedback_statements=fresh)


def _ingest_prometheus(store: Store, config: Config, interval: Interval, progress: Progress | None) -> IngestResult:
    """One partition after the other, so that memory does not grow with the range.

    A partition that lies only partly in ``interval`` is not replaced when that would lose rows.
    """
    from fleetalign.ingest.prometheus.source import PrometheusSource

    source = PrometheusSource(config.source)
    done, total = 0, source.num_points(interval)

    def tell(points: int) -> None:
        nonlocal done
        done += points
        if progress:
            progress(done, total, READING)

    results, asked = [], []
    for part in split(interval, config.partition):
        inside = Interval(max(part.start, interval.start), min(part.end, interval.end))
        grid, record = source.read(inside, tell)
        asked.append(record)
        if grid.is_empty:
            continue
        stepped = dataclasses.replace(config, steps=_steps(config, grid.kinds, source.step_seconds))
        mapping = dataclasses.replace(OWN_MAPPING, metrics=grid.metrics)
        result = ingest_tables(store, stepped, grid.tables(), mapping, inside, source.url, replace=inside == part)
        for partition in result.partitions:
            stamped = {**record, "partition_sha256": partition.digest}
            store.put(partition.prefix + layout.SOURCE_FILE, readable_json(stamped))
        results.append(result)
    if not results:
        raise BadInput(
            f"{source.url}: no query found a series from {format_time(interval.start)} to {format_time(interval.end)}; "
            f"check the range, the server's retention and {config.source.mapping_path}"
        )
    return dataclasses.replace(merged(results), asked=tuple(asked))


def _steps(config: Config, kinds: Iterable[str], step_seconds: int) -> dict[str, int]:
    for kind in kinds:
        if config.steps.get(kind, step_seconds) != step_seconds:
            raise ConfigError(
                f"steps.{kind} is {config.steps[kind]} but {config.source.mapping_path} says step_seconds: {step_seconds}; "
                "make them equal"
            )
    return {**config.steps, **dict.fromkeys(kinds, step_seconds)}


def source_mapping(source: SourceConfig) -> Mapping:
    """The mapping of a ``files`` source: its YAML file, with the settings of ``source`` on top."""
    mapping = load_mapping(source.mapping_path) if source.mapping_path else Mapping()
    return dataclasses.replace(
        mapping,
        kind=source.kind if source.kind and not mapping.kind_column else mapping.kind,
        metrics=source.metrics or mapping.metrics,
        ignore=source.ignore or mapping.ignore,
    )


def read_file(
    file: SourceFile,
    mapping: Mapping,
    interval: Interval | None,
    seen: set[str],
    progress: Progress | None = None,
    done: int = 0,
    total: int = 1,
) -> list[Batch]:
    """Everything in one file; its columns (long layout: metrics) are added to ``seen``.

    Raises BadInput when it cannot be read to its end, UsageError when its columns do not fit ``mapping``.
    """
    resolved: Mapping | None = None
    batches = []
    for part in read_batches(file, mapping.csv_format):
        if resolved is None:
            resolved = _resolve(mapping, part.table, file.origin, tuple(file.path_columns))
            seen.update(part.table.schema.names, file.path_columns)
        refuse_other_header(part, resolved, file.origin)
        table = with_path_columns(part.table, file, resolved.key_columns)
        if resolved.layout == "long":
            seen.update(texts(plain(table.column(resolved.metric_column))).drop_null().unique().to_pylist())
        batches.append(read_batch(table, resolved, interval, file.origin, part.first_row, part.broken_lines))
        if progress:
            progress(min(done + part.bytes_done, total - 1), total, READING)
    return batches


def _resolve(mapping: Mapping, sample: pa.Table, origin: str, path_columns: tuple[str, ...] = ()) -> Mapping:
    """An unnamed kind is decided per file: its column called ``kind``, else ``DEFAULT_KIND``."""
    resolved = resolve(mapping, sample, origin, path_columns)
    return resolved if resolved.kind or resolved.kind_column else dataclasses.replace(resolved, kind=DEFAULT_KIND)


def _check_all_found(mapping: Mapping, seen: set[str], where: str) -> None:
    """A misspelt --metrics or --ignore must not pass silently. ``seen``: columns, and metrics of the long layout."""
    for field in ("metrics", "ignore"):
        for name in getattr(mapping, field):
            if name not in seen:
                raise UsageError(
                    f"{where}: --{field} {name} is in none of the files; they have {', '.join(sorted(seen))}"
                )


def _finish(intake: Intake, store: Store, config: Config, origin: str, replace: bool) -> IngestResult:
    result = intake.write(store, config, replace)
    if not result.partitions:
        asked = "any range"
        if intake.interval is not None:
            asked = f"{format_time(intake.interval.start)} to {format_time(intake.interval.end)}"
        quarantined = sum(result.quarantined_rows.values())
        first = f"; first: {result.first_quarantined}" if result.first_quarantined else ""
        hint = "check the range and the mapping"
        if Rule.UNKNOWN_STEP in result.quarantined_rows:
            hint = (
                "no entity has two samples, so the sampling step is unknown; set steps: {KIND: SECONDS} in params.yaml"
            )
        raise BadInput(
            f"{origin}: no usable telemetry in {asked} ({result.read} rows read, {quarantined} quarantined, "
            f"{result.outside} outside the range{first}); {hint}"
        )
    return result


def _recorded_before(feedback: pa.Table, interval: Interval) -> pa.Table:
    return feedback.filter(pc.less(feedback["recorded_at"], pa.scalar(interval.end, TIME)))
