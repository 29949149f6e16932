"""Dense telemetry of many entities on one regular grid: what training, alignment and scoring read.

A panel is ``values`` float64 [entity, time, metric], NaN where nothing was measured. Panels larger than
``memory_mb`` live in a memory-mapped scratch file, so that resident memory does not grow with the fleet: who reads
one drops its pages (``forget``, ``entities_of``).
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.slots import slot_times, slots_of, step_width
from fleetalign.contracts.tables import KEY_COLUMNS
from fleetalign.interval import Interval
from fleetalign.storage import lake
from fleetalign.storage.store import Store

RESIDENT_BYTES = 8 * 2**20
"""Most bytes of a memory-mapped array between two drops of its pages, when it is walked entity by entity."""


@dataclass(frozen=True, slots=True)
class Panel:
    """``first``/``last`` int64 [entity]: grid index of the first and last row of each entity (first > last: none)."""

    kind: str
    entity_ids: tuple[str, ...]
    metrics: tuple[str, ...]
    start: np.datetime64
    step_seconds: int
    values: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """Grid times datetime64[us] [time]."""
        return slot_times(np.arange(self.values.shape[1]), self.step_seconds, self.start)

    def index_of(self, instant: object) -> int:
        """Grid index of the first sample at or after ``instant`` (aware datetime)."""
        offset = as_datetime64(instant) - self.start
        return int(np.clip(-((-offset) // step_width(self.step_seconds)), 0, self.values.shape[1]))


def as_datetime64(instant) -> np.datetime64:
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
    """A panel of NaN over ``interval``; memory-mapped when larger than ``memory_mb``."""
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
    """An array of NaN; memory-mapped when larger than ``memory_mb``."""
    if np.dtype(dtype).itemsize * np.prod(shape, dtype=np.int64) <= memory_mb * 2**20:
        return np.full(shape, np.nan, dtype=dtype)
    with tempfile.TemporaryFile(dir=scratch_dir or None) as file:  # the map keeps it after it is closed
        values = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
    for entity in entities_of(values):
        values[entity] = np.nan
    return values


def forget(values: np.ndarray) -> None:
    """Drop the resident pages of a memory-mapped array; its content stays in its file. Nothing for one in memory."""
    if isinstance(values, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        values._mmap.madvise(mmap.MADV_DONTNEED)


def entities_of(*arrays: np.ndarray) -> Iterator[int]:
    """The entities of ``arrays`` [entity, time, metric] in order; about ``RESIDENT_BYTES`` of them stay resident."""
    at_once = max(RESIDENT_BYTES // max(sum(a[:1].nbytes for a in arrays), 1), 1)
    for entity in range(len(arrays[0])):
        yield entity
        if entity % at_once == at_once - 1 or entity == len(arrays[0]) - 1:
            for array in arrays:
                forget(array)


def fill(panel: Panel, table: pa.Table) -> None:
    """Write the rows of ``table`` (telemetry columns) that lie on the panel's entities and times."""
    if table.num_rows == 0:
        return
    ids = pa.array(panel.entity_ids, pa.string())
    codes = pc.index_in(table["entity_id"], value_set=ids)
    rows = pc.fill_null(codes, -1).to_numpy().astype(np.int64)
    steps = slots_of(table["timestamp"].to_numpy().astype("datetime64[us]"), panel.step_seconds, panel.start)
    inside = (rows >= 0) & (steps >= 0) & (steps < panel.values.shape[1])
    rows, steps = rows[inside], steps[inside]
    for m, metric in enumerate(panel.metrics):
        if metric in table.schema.names:
            column = table[metric].to_numpy(zero_copy_only=False).astype(np.float64)
            panel.values[rows, steps, m] = column[inside]
    np.minimum.at(panel.first, rows, steps)
    np.maximum.at(panel.last, rows, steps)


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
    """The panel of ``entity_ids`` (sorted) over ``interval``, read part by part from validated partitions."""
    panel = empty_panel(kind, entity_ids, metrics, interval, step_seconds, memory_mb=memory_mb, scratch_dir=scratch_dir)
    bounds = (entity_ids[0], entity_ids[-1]) if entity_ids else ("", "")
    for partition in partitions:
        if partition.kind == kind and partition.interval.overlaps(interval):
            columns = [*KEY_COLUMNS[1:], *(m for m in metrics if m in partition.metrics)]
            for part in lake.read_parts(store, partition, columns, bounds):
                fill(panel, part)
                forget(panel.values)
    return panel
