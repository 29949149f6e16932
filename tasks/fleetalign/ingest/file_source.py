"""Parquet and CSV files as a source: one file, a folder, or an ``s3://`` prefix."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from fleetalign.config import Config, SourceConfig
from fleetalign.errors import BadInput, ConfigError, UsageError
from fleetalign.ingest.batch import Batch, read_rows, texts
from fleetalign.ingest.files import read_batches
from fleetalign.ingest.header import refuse_other_header
from fleetalign.ingest.listing import SourceFile, list_files, with_path_columns
from fleetalign.ingest.mapping import DEFAULT_KIND, Mapping, load_mapping, resolve, series_of_columns
from fleetalign.ingest.numbers import plain
from fleetalign.ingest.placing import EDGE
from fleetalign.ingest.source import READING, Reading, Refused, Stored
from fleetalign.interval import Interval
from fleetalign.progress import Progress
from fleetalign.storage.quarantine import Rule, count_rules


class FileSource:
    """The files of ``path``, whose columns ``mapping`` describes.

    A file is read whole or refused whole: half of a file whose end is damaged must not look like all of it.
    """

    def __init__(self, path: str | Path, mapping: Mapping, *, stored: Stored = "replace") -> None:
        self.name = str(path)
        self._mapping = mapping
        self._stored = stored

    @classmethod
    def from_config(cls, config: Config) -> FileSource:
        """Open ``source.path``. Raises ConfigError when it is empty or the mapping is wrong."""
        if not config.source.path:
            raise ConfigError("source.type is files but source.path is empty; name a file or folder in params.yaml")
        return cls(config.source.path, _configured_mapping(config.source))

    def read(self, interval: Interval | None, progress: Progress | None = None) -> Iterator[Reading]:
        """Yield all files as one reading, of the rows in ``interval`` (None: all rows).

        Raises UsageError when the columns of a file do not fit the mapping, or when a metric or an ignored column
        that the mapping names is in none of them.
        """
        # Late rows are placed with what is stored, beyond the ends of the range too.
        reach = interval if interval is None or self._stored == "merge" else interval.widened(EDGE)
        yield Reading(
            interval=None if self._stored == "merge" else interval,
            origin=Path(self.name).name,
            objects=self._objects(list_files(self.name), reach, progress),
            stored=self._stored,
        )

    def _objects(
        self, files: list[SourceFile], interval: Interval | None, progress: Progress | None
    ) -> Iterator[list[Batch] | Refused]:
        total, before = sum(file.size for file in files), 0
        names: set[str] = set()
        any_read = False

        def report(done: int) -> None:
            if progress:
                progress(min(before + done, total - 1), total, READING)

        for file in files:
            try:
                batches = read_file(file, self._mapping, interval, names, report)
            except BadInput as error:
                yield Refused(file.origin, file.content(), str(error))
            else:
                any_read = True
                yield batches
            before += file.size
        if progress:
            progress(total, total, READING)
        if any_read:
            _check_all_found(self._mapping, names, self.name)


def read_file(
    file: SourceFile,
    mapping: Mapping,
    interval: Interval | None,
    names: set[str],
    report: Callable[[int], None] = lambda done: None,
) -> list[Batch]:
    """Read everything in one file; its columns (long layout: metrics) are added to ``names``.

    ``report`` is called with the bytes read so far. Raises BadInput when the file cannot be read to its end,
    UsageError when its columns do not fit ``mapping``.
    """
    resolved: Mapping | None = None
    batches: list[Batch] = []
    for part in read_batches(file, mapping.csv_format):
        if resolved is None:
            resolved = _resolved(mapping, part.table, file)
            names.update(part.table.schema.names, file.path_columns)
        refuse_other_header(part, resolved, file.origin)
        table = with_path_columns(part.table, file, resolved.key_columns)
        if resolved.layout == "long":
            names.update(texts(plain(table.column(resolved.metric_column))).drop_null().unique().to_pylist())
        if resolved.layout == "matrix":
            names.update(
                series[2] for series in series_of_columns(resolved, table.schema.names, file.origin)[0].values()
            )
        batches += read_rows(table, resolved, interval, file.origin, part.first_row, part.broken_lines)
        report(part.bytes_done)
    if resolved and len(batches) > 1 and any(Rule.AMBIGUOUS_TIME in count_rules(batch.rows) for batch in batches):
        return _read_whole(file, resolved, interval)
    return batches


def _read_whole(file: SourceFile, mapping: Mapping, interval: Interval | None) -> list[Batch]:
    """Read ``file`` as one table: only all rows tell the hours of an autumn night apart."""
    parts = list(read_batches(file, mapping.csv_format))
    table = with_path_columns(pa.concat_tables([part.table for part in parts]), file, mapping.key_columns)
    broken = tuple(line for part in parts for line in part.broken_lines)
    return read_rows(table, mapping, interval, file.origin, parts[0].first_row, broken)


def _resolved(mapping: Mapping, sample: pa.Table, file: SourceFile) -> Mapping:
    """Resolve ``mapping`` for one file, whose kind is the default when nothing names one."""
    resolved = resolve(mapping, sample, file.origin, tuple(file.path_columns))
    named = resolved.kind or resolved.kind_column or resolved.layout == "matrix"  # which falls back for each series
    return resolved if named else dataclasses.replace(resolved, kind=DEFAULT_KIND)


def _configured_mapping(source: SourceConfig) -> Mapping:
    """Read the mapping in the YAML file of ``source``, with its other settings on top."""
    mapping = load_mapping(source.mapping_path) if source.mapping_path else Mapping()
    return dataclasses.replace(
        mapping,
        kind=source.kind if source.kind and not mapping.kind_column else mapping.kind,
        metrics=source.metrics or mapping.metrics,
        ignore=source.ignore or mapping.ignore,
    )


def _check_all_found(mapping: Mapping, names: set[str], where: str) -> None:
    """Raise UsageError for a misspelt --metrics or --ignore."""
    for field in ("metrics", "ignore"):
        for name in getattr(mapping, field):
            if name not in names:
                raise UsageError(
                    f"{where}: --{field} {name} is in none of the files; they have {', '.join(sorted(names))}"
                )
