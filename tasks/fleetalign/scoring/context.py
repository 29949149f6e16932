"""Earlier telemetry of a store, for the windows and earlier periods of new rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import KEY_COLUMNS, TIME
from fleetalign.interval import Interval, format_time
from fleetalign.scoring.score_table import kinds_of
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import lake
from fleetalign.storage.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    """Validated telemetry before the rows that are to be scored."""

    rows: pa.Table | None
    """Rows of every kind, None where the store has none."""
    missing: tuple[str, ...]
    """A sentence for each kind whose history is too short."""


def earlier(store: Store, scorer: Scorer, telemetry: pa.Table, start: datetime | None = None) -> Context:
    """Read what precedes ``telemetry`` in the validated partitions of ``store``.

    It reads as far back as scores depend on.

    Rows of ``telemetry`` before ``start`` are history too; the store is read only for what they lack.

    Raises:
        BadInput: As ``Scorer.score``.
        Corrupt: A part differs from its recorded sha256.
    """
    tables, missing = [], []
    for kind, rows in kinds_of(telemetry):
        known = scorer.kind(kind)
        times = rows["timestamp"]
        scored = times if start is None else times.filter(pc.greater_equal(times, pa.scalar(start, TIME)))
        if known is None or not len(scored):
            continue
        window = timedelta(seconds=known.window_steps * known.step_seconds)
        first, given = pc.min(scored).as_py(), pc.min(times).as_py()
        span = timedelta(seconds=scorer.history_steps(kind) * known.step_seconds)
        reach = Interval(first - span, first)
        found = []
        if given > reach.start:
            found = _stored(store, kind, Interval(reach.start, given), rows["entity_id"], known.metrics)
        tables += found
        begin = min([given, *(pc.min(part["timestamp"]).as_py() for part in found)])
        before = times.filter(pc.less(times, pa.scalar(first, TIME)))
        newest = max(
            (pc.max(seen).as_py() for seen in (before, *(p["timestamp"] for p in found)) if len(seen)), default=None
        )
        if newest is not None and first - newest > window:
            missing.append(
                f"kind {kind}: there is nothing from {format_time(newest)} to {format_time(first)}, longer than a window "
                f"({_hours(window)}): no score before {format_time(first + window)}; give the rows in between too"
            )
        elif begin > reach.start + timedelta(seconds=known.step_seconds):
            missing.append(_short(kind, window, span, first, begin))
    return Context(pa.concat_tables(tables, promote_options="default") if tables else None, tuple(missing))


def _stored(
    store: Store, kind: str, within: Interval, entity_ids: pa.ChunkedArray, metrics: Sequence[str]
) -> list[pa.Table]:
    """Read the validated rows of these entities inside ``within``, part by part."""
    wanted, found = pc.unique(entity_ids), []
    ends = pc.min_max(wanted).as_py()
    for partition in lake.list_partitions(store, "validated", kind, within):
        columns = [*KEY_COLUMNS, *(metric for metric in metrics if metric in partition.metrics)]
        for part in lake.read_parts(store, partition, columns, (ends["min"], ends["max"])):
            time = part["timestamp"]
            inside = pc.and_(
                pc.greater_equal(time, pa.scalar(within.start, TIME)), pc.less(time, pa.scalar(within.end, TIME))
            )
            part = part.filter(pc.and_(inside, pc.is_in(part["entity_id"], value_set=wanted)))
            if part.num_rows:
                found.append(part)
    return found


def _short(kind: str, window: timedelta, span: timedelta, first: datetime, begin: datetime) -> str:
    """Say how much of the history of ``kind`` is missing, and what that means."""
    lacking = span - (first - begin)
    warm_up = begin + window
    then = f"no score before {format_time(warm_up)}; " if warm_up > first else ""
    return (
        f"kind {kind}: scores look back {_hours(span)}, and {_hours(lacking)} before {format_time(first)} are missing: "
        f"{then}what is missing counts as ordinary; give the earlier rows too, or a store that holds them"
    )


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:.3g} h"
