"""What a source of telemetry is, and how ``source.type`` finds one.

A source yields readings; ``ingest.run`` makes raw partitions of them. An installed package adds a source with an entry
point of the group ``fleetalign.sources`` that names a callable of the configuration::

    class Gateway:
        def __init__(self, config: Config) -> None:
            self.name = config.source.path

        def read(self, interval: Interval, progress: Progress | None = None) -> Iterator[Reading]:
            yield Reading(interval=interval, origin=self.name, objects=[table])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, Protocol

import pyarrow as pa

from fleetalign.config import Config
from fleetalign.errors import ConfigError
from fleetalign.ingest.batch import Batch
from fleetalign.interval import Interval
from fleetalign.progress import Progress

GROUP = "fleetalign.sources"
BUILT_IN = {
    "simulator": "fleetalign.ingest.simulator:SimulatorSource",
    "files": "fleetalign.ingest.file_source:FileSource.from_config",
    "spans": "fleetalign.ingest.spans.source:SpanSource",
    "prometheus": "fleetalign.ingest.prometheus.source:PrometheusSource",
}
Stored = Literal["keep", "replace", "merge"]
"""What becomes of a stored partition: ``keep`` refuses to lose entities or times of it that a reading lacks, ``merge``
adds the reading to it."""
READING = "read telemetry"
"""What progress is reported as."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that cannot be read to its end; it goes to the quarantine whole."""

    origin: str
    content: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Telemetry that is written as one: memory holds one reading at a time."""

    interval: Interval | None
    """The range that was asked for; None takes the range of the rows."""
    origin: str
    """Name of the source in the quarantine."""
    objects: Iterable[pa.Table | Sequence[Batch] | Refused]
    """What was read, and what was refused: tables of the telemetry contract, or batches where the source maps columns
    itself. Rows a little outside ``interval`` are looked at too: jitter puts samples there that belong to it. Nothing is written for a reading without objects."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """``step_seconds`` of the kinds whose step the source knows; the setting ``steps`` wins."""
    queries: Mapping[str, Any] | None = None
    """What a server was asked, as JSON; stored beside each partition, so it must hold no credentials."""
    stored: Stored = "replace"
    attributes: pa.Table | None = None
    """What the source says of its entities beyond batches (ATTRIBUTES); ``from`` is a time when it held."""


class Source(Protocol):
    """Where telemetry comes from."""

    @property
    def name(self) -> str:
        """Name of the source in messages."""

    def read(self, interval: Interval, progress: Progress | None = None) -> Iterator[Reading]:
        """Yield the telemetry of ``interval``, each partition in at most one reading, first to last.

        Raises BadInput when there is none or it cannot be used, StoreError when a server cannot be reached.
        """


def open_source(config: Config) -> Source:
    """Open the source that ``source.type`` names.

    Raises ConfigError when there is no such source or a setting is wrong, StoreError when a server cannot be reached.
    """
    name = config.source.type
    if name in BUILT_IN:
        entry = EntryPoint(name, BUILT_IN[name], GROUP)
    else:
        installed = {entry.name: entry for entry in entry_points(group=GROUP)}
        if name not in installed:
            names = ", ".join([*BUILT_IN, *sorted(set(installed) - set(BUILT_IN))])
            raise ConfigError(f"source.type is {name!r}; must be one of {names}")
        entry = installed[name]
    factory: Callable[[Config], Source] = entry.load()
    return factory(config)
