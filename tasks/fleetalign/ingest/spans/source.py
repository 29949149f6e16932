"""Files of requests as a source of telemetry."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from fleetalign.config import Config
from fleetalign.contracts.tables import QUARANTINED_CELLS, TELEMETRY
from fleetalign.errors import ConfigError
from fleetalign.ingest.batch import Batch
from fleetalign.ingest.listing import list_files
from fleetalign.ingest.mapping import DEFAULT_KIND
from fleetalign.ingest.source import Reading, Refused
from fleetalign.ingest.spans.mapping import SpanMapping, load_span_mapping
from fleetalign.ingest.spans.reader import SpansRead, read_spans
from fleetalign.interval import LENGTHS, Granularity, Interval
from fleetalign.progress import Progress
from fleetalign.spans.statistics import telemetry
from fleetalign.storage.quarantine import first_taken_out

STEP_SECONDS = 300
"""Length of a window unless ``steps`` or ``--step`` sets another."""
_log = logging.getLogger(__name__)


class SpanSource:
    """The requests in the files of ``source.path``."""

    def __init__(self, config: Config) -> None:
        """Open ``source.path``.

        Raises ConfigError for an empty path, a wrong mapping, or a step that does not divide the partition.
        """
        if not config.source.path:
            raise ConfigError("source.type is spans but source.path is empty; name a file or folder in params.yaml")
        self.name = config.source.path
        self._mapping = configured_mapping(config)
        self._step_seconds = step_seconds(config, self._mapping)
        self._config = config

    def read(self, interval: Interval, progress: Progress | None = None) -> Iterator[Reading]:
        """Yield one reading: telemetry of the requests that began in ``interval``.

        What was read, left out and late is recorded beside the partitions.
        """
        asked: dict[str, Any] = {"source": "spans", **interval.as_json(), "step_seconds": self._step_seconds}
        yield Reading(
            interval=interval,
            origin=Path(self.name).name,
            objects=self._objects(interval, asked, progress),
            steps={kind_of(self._mapping): self._step_seconds},
            queries=asked,
        )

    def _objects(
        self, interval: Interval, asked: dict[str, Any], progress: Progress | None
    ) -> Iterator[pa.Table | list[Batch] | Refused]:
        config = self._config
        found = read_spans(
            list_files(self.name), self._mapping, interval, self._step_seconds, config.partition, progress,
            config.storage.scratch_dir,
        )  # fmt: skip
        asked.update(found.counts)
        for note in found.notes:
            _log.warning("%s: %s", self.name, note)
        yield from found.refused
        yield [_quarantined(found)]
        yield from telemetry(found.table, config.partition)


def configured_mapping(config: Config) -> SpanMapping:
    """Read the mapping of ``source.mapping_path``, with ``source.kind`` on top.

    Raises ConfigError naming the field.
    """
    source = config.source
    mapping = load_span_mapping(source.mapping_path) if source.mapping_path else SpanMapping()
    return dataclasses.replace(mapping, kind=source.kind) if source.kind else mapping


def kind_of(mapping: SpanMapping) -> str:
    """Return the kind of every entity."""
    return mapping.kind or DEFAULT_KIND


def step_seconds(config: Config, mapping: SpanMapping) -> int:
    """Return the length of the windows. Raises ConfigError unless it divides the partition."""
    step = config.steps.get(kind_of(mapping), STEP_SECONDS)
    check_step(step, config.partition)
    return step


def check_step(step: int, partition: Granularity) -> None:
    """Raise ConfigError unless a window of ``step`` seconds divides the partition."""
    length = int(LENGTHS[partition].total_seconds())
    if step < 1 or length % step:
        raise ConfigError(
            f"a window of {step} s does not divide a {partition}; choose one that does, such as 60 or 300"
        )


def _quarantined(found: SpansRead) -> Batch:
    """Return the quarantined rows as a batch that holds nothing else."""
    return Batch(
        kept=TELEMETRY.empty(),
        cells=QUARANTINED_CELLS.empty(),
        rows=found.rows,
        read=found.rows.num_rows,
        outside=0,
        is_long=False,
        first=first_taken_out(found.rows, QUARANTINED_CELLS.empty(), ""),
    )
