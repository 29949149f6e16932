"""Converts telemetry rows to series for a kind's scorer, and its scores to rows of SCORES.

Defined in contracts 2.8.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.cells import MAX_ABS_VALUE, is_measured
from fleetalign.contracts.slots import slot_times, slots_of
from fleetalign.contracts.tables import CONTRIBUTIONS, KEY_COLUMNS, SCORES, TELEMETRY, TIME
from fleetalign.errors import BadInput
from fleetalign.scoring.kind_scorer import REASONS, SCORED, KindScorer, Scores, Series

MAX_GRID_STEPS = 10_000_000
"""Longest dense grid of one entity: 19 years of minutes. Without a limit, a row with a wrong clock would fill the disk."""
Contributions = bool | Literal["alarms"]
"""Which samples get shares of metrics; those of every sample are many times larger than the scores."""


def kinds_of(telemetry: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of every kind in the order of their names.

    Raises:
        BadInput: A key column is missing or has empty cells, or the times have no zone.
    """
    for name in KEY_COLUMNS:
        if name not in telemetry.schema.names:
            raise BadInput(f"telemetry: column {name!r} is missing; it has {telemetry.schema.names}")
        if telemetry[name].null_count:
            raise BadInput(
                f"telemetry: column {name!r} has {telemetry[name].null_count} empty cells; remove those rows"
            )
    time = telemetry.schema.field("timestamp").type
    if not pa.types.is_timestamp(time) or time.tz is None:
        raise BadInput(f"telemetry: column 'timestamp' is {time}; it must be a timestamp with a zone, such as {TIME}")
    kinds = telemetry["kind"].cast(pa.string())
    for kind in sorted(pc.unique(kinds).to_pylist()):
        yield kind, telemetry.filter(pc.equal(kinds, kind))


def measured(rows: pa.Table, metrics: tuple[str, ...]) -> pa.Table:
    """Select the key columns and the catalogue's metrics, sorted by entity and time.

    Ignore other columns.
    """
    return TELEMETRY.conform(rows.select([*KEY_COLUMNS, *(m for m in metrics if m in rows.schema.names)]))


def by_entity(ids: pa.ChunkedArray) -> list[tuple[int, int]]:
    """Return half-open row ranges, one per entity, of a table sorted by the column ``ids``."""
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    return list(itertools.pairwise([0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]))


def score_table(
    scorer: KindScorer,
    scored: Iterable[tuple[Series, Scores]],
    since: np.datetime64 | None = None,
    contributions: Contributions = False,
) -> pa.Table:
    """Make rows of SCORES from ``since`` on.

    It builds one Arrow table per kind: one per entity would cost more than the graph where series are short.
    """
    ids, times, parts = [], [], []
    for one, found in scored:
        at = one.times[one.positions]
        late = np.full(len(at), True) if since is None else at >= since
        ids.append(one.entity_id)
        times.append(at[late])
        shares = found.contribution[late] if contributions else None
        parts.append((found.score[late], found.margin[late], found.reason[late], shares))
    score, margin, reason = (np.concatenate(column) for column in itertools.islice(zip(*parts, strict=True), 3))
    quiet = reason != SCORED
    columns = [
        pa.repeat(pa.scalar(scorer.kind), len(score)),
        pa.array(ids, pa.string()).take(pa.array(np.repeat(np.arange(len(ids)), [len(part) for part in times]))),
        pa.array(np.concatenate(times), pa.timestamp("us")).cast(TIME),
        pa.array(score, pa.float32(), mask=quiet),
        pa.array(margin, pa.float32(), mask=quiet),
        pa.array(~quiet & (margin > 0)),
        pa.array(REASONS, pa.string()).take(pa.array(reason)),
    ]
    if not contributions:
        return pa.table(columns, schema=SCORES.schema)
    left_out = quiet if contributions is True else quiet | ~(margin > 0)
    shares = _shares(scorer.metrics, np.concatenate([part[3] for part in parts]), left_out)
    return pa.table([*columns, shares], schema=SCORES.schema.append(CONTRIBUTIONS))


def grids(scorer: KindScorer, rows: pa.Table, since: np.datetime64 | None = None) -> Iterator[Series]:
    """Yield every entity of ``rows`` on its own grid.

    Rows of one slot are merged cell by cell; the last value counts.

    Raises:
        BadInput: An entity's times lie impossibly far apart.
    """
    slots = slots_of(rows["timestamp"].to_numpy().astype("datetime64[us]"), scorer.step_seconds)
    columns = [
        (index, rows[metric].to_numpy(zero_copy_only=False).astype(np.float64, copy=False))
        for index, metric in enumerate(scorer.metrics)
        if metric in rows.schema.names
    ]
    for begin, end in by_entity(rows["entity_id"]):
        entity_id = rows["entity_id"][begin].as_py()
        length = slots[end - 1] - slots[begin] + 1
        if length > MAX_GRID_STEPS:
            raise BadInput(
                f"telemetry: entity {entity_id!r} of kind {scorer.kind!r} has times from {rows['timestamp'][begin]} to "
                f"{rows['timestamp'][end - 1]}, {length - 1} steps apart; is a clock wrong? Remove those rows"
            )
        steps = slots[begin:end] - slots[begin]
        values = np.full((length, len(scorer.metrics)), np.nan)
        for index, column in columns:
            mine = column[begin:end]
            seen = is_measured(mine, MAX_ABS_VALUE)
            values[steps[seen], index] = mine[seen]
        times = slot_times(slots[begin] + np.arange(length), scorer.step_seconds)
        positions = np.unique(steps)
        if since is not None:
            positions = positions[scorer.settling(int(np.searchsorted(times[positions], since))) :]
        yield Series(entity_id, values, times, 0, positions)


def _shares(metrics: tuple[str, ...], contribution: np.ndarray, quiet: np.ndarray) -> pa.Array:
    """Make a map column metric -> share of the score; empty where ``quiet``."""
    shared = (contribution > 0) & ~quiet[:, None]
    offsets = np.concatenate(([0], np.cumsum(shared.sum(axis=1)))).astype(np.int32)
    names = pa.array(metrics, pa.string()).take(pa.array(np.nonzero(shared)[1]))
    return pa.MapArray.from_arrays(pa.array(offsets), names, pa.array(contribution[shared], pa.float32()))


def unknown_kind(rows: pa.Table, start: datetime | None = None) -> pa.Table:
    """Make rows for a kind that the release does not know: one per entity and unrounded time."""
    keys = TELEMETRY.conform(rows.select(KEY_COLUMNS)).group_by(list(KEY_COLUMNS), use_threads=False).aggregate([])
    if start is not None:
        keys = keys.filter(pc.greater_equal(keys["timestamp"], pa.scalar(start, TIME)))
    columns = [
        *(keys[name] for name in KEY_COLUMNS),
        pa.nulls(keys.num_rows, pa.float32()),
        pa.nulls(keys.num_rows, pa.float32()),
        pa.repeat(pa.scalar(False), keys.num_rows),
        pa.repeat(pa.scalar("unknown_kind"), keys.num_rows),
        pa.nulls(keys.num_rows, CONTRIBUTIONS.type),
    ]
    return pa.table(columns, schema=SCORES.schema.append(CONTRIBUTIONS))
