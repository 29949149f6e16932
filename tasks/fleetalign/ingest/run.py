"""Telemetry of a source into raw partitions (contracts 1.3, 2.1, 2.2).

A run replaces the partitions of its range that its source has rows for; equal input changes no byte. What is kept
and what is quarantined adds up to what was read, or the run fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from fleetalign.config import Config
from fleetalign.contracts.hashing import readable_json
from fleetalign.errors import BadInput
from fleetalign.ingest.batch import read_telemetry
from fleetalign.ingest.file_source import FileSource
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.placing import EDGE
from fleetalign.ingest.raw_partitions import IngestResult, RawPartitionWriter, merged
from fleetalign.ingest.source import Reading, Refused, Stored, open_source
from fleetalign.interval import Interval, format_time
from fleetalign.progress import Progress
from fleetalign.storage import layout
from fleetalign.storage.quarantine import Rule, quarantine_object
from fleetalign.storage.store import Store


def ingest_partition(
    store: Store, config: Config, interval: Interval, progress: Progress | None = None
) -> IngestResult:
    """Ingest ``interval`` from the configured source.

    Raises what ``open_source`` and ``ingest_readings`` raise.
    """
    source = open_source(config)
    return ingest_readings(store, config, source.name, source.read(interval, progress), interval)


def ingest_files(
    store: Store,
    config: Config,
    path: str | Path,
    mapping: Mapping,
    interval: Interval | None,
    progress: Progress | None = None,
    *,
    stored: Stored = "keep",
) -> IngestResult:
    """Ingest files, a folder or an ``s3://`` prefix; ``interval`` None takes all rows.

    Raises UsageError when a file's columns do not fit ``mapping`` (before anything is written), and with ``keep``
    BadInput when a stored partition holds entities or times that the files lack.
    """
    source = FileSource(path, mapping, stored=stored)
    return ingest_readings(store, config, source.name, source.read(interval, progress), interval)


def ingest_readings(
    store: Store, config: Config, source: str, readings: Iterable[Reading], interval: Interval | None
) -> IngestResult:
    """Write the raw partitions of ``readings``; ``source`` names them in messages.

    A refused object is copied to the quarantine with the reason beside it; the others are ingested, then BadInput is
    raised. Raises BadInput also when nothing can be used in ``interval``.
    """
    results: list[IngestResult] = []
    queries = []
    refused: list[Refused] = []
    num_objects = 0
    for reading in readings:
        writer = RawPartitionWriter(reading.interval, reading.origin)
        row = 1
        for found in reading.objects:
            num_objects += 1
            if isinstance(found, Refused):
                refused.append(found)
                quarantine_object(store, found.origin, found.content, found.reason)
            elif isinstance(found, pa.Table):
                reach = reading.interval and reading.interval.widened(EDGE)
                writer.add([read_telemetry(found, reach, reading.origin, row)])
                row += found.num_rows
            else:
                writer.add(found)
        if reading.queries is not None:
            queries.append(dict(reading.queries))
        if reading.attributes is not None:
            writer.add_attributes(reading.attributes)
        if writer.has_batches:
            results.append(_written(writer, reading, store, config, source))
    if refused:
        raise BadInput(
            f"{source}: {len(refused)} of {num_objects} files not readable and copied to quarantine/objects/, the others "
            f"ingested; repair or remove them and run again. First: {refused[0].reason}"
        )
    if not results:
        raise _unusable(merged([]), source, interval)
    return dataclasses.replace(merged(results), queries=tuple(queries))


def _written(writer: RawPartitionWriter, reading: Reading, store: Store, config: Config, source: str) -> IngestResult:
    """Write one reading, with the record of its queries beside each partition."""
    stepped = dataclasses.replace(config, steps={**reading.steps, **config.steps})
    result = writer.write(store, stepped, reading.stored)
    if not result.partitions:
        raise _unusable(result, source, reading.interval)
    if reading.queries is not None:
        for partition in result.partitions:
            stamped = {**reading.queries, "partition_sha256": partition.digest}
            store.put(partition.prefix + layout.SOURCE_FILE, readable_json(stamped))
    return result


def _unusable(result: IngestResult, source: str, interval: Interval | None) -> BadInput:
    span = "any range"
    if interval is not None:
        span = f"{format_time(interval.start)} to {format_time(interval.end)}"
    quarantined = sum(result.quarantined_rows.values())
    first = f"; first: {result.first_quarantined}" if result.first_quarantined else ""
    hint = "check the range and the mapping"
    if Rule.UNKNOWN_STEP in result.quarantined_rows:
        hint = "no entity has two samples, so the sampling step is unknown; set steps: {KIND: SECONDS} in params.yaml"
    return BadInput(
        f"{source}: no usable telemetry in {span} ({result.read} rows read, {quarantined} quarantined, "
        f"{result.outside} outside the range{first}); {hint}"
    )
