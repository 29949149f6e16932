"""Dense telemetry of many entities on one grid, for training, alignment and scoring.

Panels larger than ``memory_mb`` live in a memory-mapped scratch file. So that resident memory does not grow with the
fleet, a reader drops the memory pages it has read (``forget``, ``entities_of``).
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.feedback import Statements
from fleetalign.contracts.slots import slot_times, slots_of, step_width
from fleetalign.contracts.tables import KEY_COLUMNS
from fleetalign.interval import Interval
from fleetalign.storage import lake
from fleetalign.storage.store import Store

RESIDENT_BYTES = 8 * 2**20
"""Most bytes of a memory-mapped array that stay resident while it is walked entity by entity."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Telemetry of the entities of one kind on one grid."""

    kind: str
    entity_ids: tuple[str, ...]
    metrics: tuple[str, ...]
    start: np.datetime64
    """Time of the first sample."""
    step_seconds: int
    """Seconds between samples."""
    values: np.ndarray
    """float64 [entity, time, metric] in raw units; NaN where nothing was measured."""
    first: np.ndarray
    """int64 [entity]: grid index of each entity's first row; above ``last`` for an entity without rows."""
    last: np.ndarray
    """int64 [entity]: grid index of each entity's last row."""

    @property
    def times(self) -> np.ndarray:
        """Times of the grid, datetime64[us] [time]."""
        return slot_times(np.arange(self.values.shape[1]), self.step_seconds, self.start)

    def index_of(self, instant: datetime) -> int:
        """Return the grid index of the first sample at or after the aware time ``instant``."""
        offset = as_datetime64(instant) - self.start
        return int(np.clip(-((-offset) // step_width(self.step_seconds)), 0, self.values.shape[1]))


def as_datetime64(instant: datetime) -> np.datetime64:
    """Convert an aware datetime to datetime64[us] in UTC."""
    return np.datetime64(round(instant.timestamp() * 1e6), "us")


def empty_panel(
    kind: str,
    entity_ids: Sequence[str],
    metrics: Sequence[str],
    interval: Interval,
    step_seconds: int,
    *,
    memory_mb: int = 512,
    scratch_dir: str | None = None,
) -> Panel:
    """Create a panel of NaN over ``interval``, memory-mapped if larger than ``memory_mb``."""
    steps = int(-(-interval.seconds // step_seconds))
    values = scratch((len(entity_ids), steps, len(metrics)), np.float64, memory_mb, scratch_dir)
    return Panel(
        kind,
        tuple(entity_ids),
        tuple(metrics),
        as_datetime64(interval.start),
        step_seconds,
        values,
        np.full(len(entity_ids), steps, dtype=np.int64),
        np.full(len(entity_ids), -1, dtype=np.int64),
    )


def scratch(
    shape: tuple[int, ...], dtype: type[np.floating], memory_mb: int = 512, scratch_dir: str | None = None
) -> np.ndarray:
    """Create an array of NaN, memory-mapped if larger than ``memory_mb``."""
    if np.dtype(dtype).itemsize * np.prod(shape, dtype=np.int64) <= memory_mb * 2**20:
        return np.full(shape, np.nan, dtype=dtype)
    with tempfile.TemporaryFile(dir=scratch_dir or None) as file:  # the map keeps it after it is closed
        values = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
    for entity in entities_of(values):
        values[entity] = np.nan
    return values


def forget(values: np.ndarray) -> None:
    """Drop the resident memory of a memory-mapped array, whose content stays in its file."""
    if isinstance(values, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped: mmap.mmap = values._mmap  # type: ignore[attr-defined]  # numpy offers no public access
        mapped.madvise(mmap.MADV_DONTNEED)


def entities_of(*arrays: np.ndarray) -> Iterator[int]:
    """Yield the entities of ``arrays`` [entity, time, metric] with bounded resident memory."""
    at_once = max(RESIDENT_BYTES // max(sum(a[:1].nbytes for a in arrays), 1), 1)
    for entity in range(len(arrays[0])):
        yield entity
        if entity % at_once == at_once - 1 or entity == len(arrays[0]) - 1:
            for array in arrays:
                forget(array)


def fill(panel: Panel, table: pa.Table) -> None:
    """Write the rows of ``table`` (TELEMETRY) that lie on the panel's entities and times."""
    if table.num_rows == 0:
        return
    ids = pa.array(panel.entity_ids, pa.string())
    codes = pc.index_in(table["entity_id"], value_set=ids)
    entities = pc.fill_null(codes, -1).to_numpy().astype(np.int64)
    steps = slots_of(table["timestamp"].to_numpy().astype("datetime64[us]"), panel.step_seconds, panel.start)
    inside = (entities >= 0) & (steps >= 0) & (steps < panel.values.shape[1])
    entities, steps = entities[inside], steps[inside]
    for m, metric in enumerate(panel.metrics):
        if metric in table.schema.names:
            column = table[metric].to_numpy(zero_copy_only=False).astype(np.float64)
            column = column[inside]
            seen = ~np.isnan(column)
            panel.values[entities[seen], steps[seen], m] = column[seen]
    np.minimum.at(panel.first, entities, steps)
    np.maximum.at(panel.last, entities, steps)


def without_anomalies(panel: Panel, statements: Statements, after_steps: int) -> int:
    """Remove labelled anomalies, and ``after_steps`` samples after each, from ``panel``.

    Returns how many entities lost samples. Their first and last rows stay where they are.
    """
    touched = 0
    for entity, entity_id in enumerate(panel.entity_ids):
        if len(panel.times) > 1 and statements.speaks_of(entity_id):
            spoiled = statements.spoiled(entity_id, panel.times, after_steps)
            panel.values[entity, spoiled] = np.nan
            touched += bool(spoiled.any())
    forget(panel.values)
    return touched


def read_panel(
    store: Store,
    partitions: Iterable[lake.Partition],
    kind: str,
    entity_ids: Sequence[str],
    metrics: Sequence[str],
    interval: Interval,
    step_seconds: int,
    *,
    memory_mb: int = 512,
    scratch_dir: str | None = None,
) -> Panel:
    """Read the panel of ``entity_ids`` (sorted) over ``interval``, part by part.

    Raises:
        Corrupt: A part differs from its recorded sha256.
    """
    panel = empty_panel(kind, entity_ids, metrics, interval, step_seconds, memory_mb=memory_mb, scratch_dir=scratch_dir)
    bounds = (entity_ids[0], entity_ids[-1]) if entity_ids else ("", "")
    for partition in partitions:
        if partition.kind == kind and partition.interval.overlaps(interval):
            columns = [*KEY_COLUMNS[1:], *(m for m in metrics if m in partition.metrics)]
            for part in lake.read_parts(store, partition, columns, bounds):
                fill(panel, part)
                forget(panel.values)
    return panel
