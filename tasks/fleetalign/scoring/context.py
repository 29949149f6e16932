"""Earlier telemetry of a store, for the windows and earlier periods of the rows that are to be scored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import TIME
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


def earlier(store: Store, scorer: Scorer, telemetry: pa.Table) -> Context:
    """Read what precedes ``telemetry`` in the validated partitions of ``store``, as far as scores depend on it.

    Raises:
        BadInput: As ``Scorer.score``.
        Corrupt: A part differs from its recorded sha256.
    """
    tables, missing = [], []
    for kind, rows in kinds_of(telemetry):
        known = scorer.kind(kind)
        if known is None or not rows.num_rows:
            continue
        first: datetime = pc.min(rows["timestamp"]).as_py()
        span = timedelta(seconds=scorer.history_steps(kind) * known.step_seconds)
        reach = Interval(first - span, first)
        begin, newest = first, reach.start
        for partition in lake.list_partitions(store, "validated", kind, reach):
            part = lake.read_partition(store, partition)
            time = part["timestamp"]
            part = part.filter(
                pc.and_(
                    pc.and_(
                        pc.less(time, pa.scalar(first, TIME)), pc.greater_equal(time, pa.scalar(reach.start, TIME))
                    ),
                    pc.is_in(part["entity_id"], value_set=pc.unique(rows["entity_id"])),
                )
            )
            if part.num_rows:
                begin = min(begin, pc.min(part["timestamp"]).as_py())
                newest = max(newest, pc.max(part["timestamp"]).as_py())
                tables.append(part)
        window = timedelta(seconds=known.window_steps * known.step_seconds)
        if begin < first and first - newest > window:
            missing.append(
                f"kind {kind}: the store has nothing from {format_time(newest)} to {format_time(first)}, longer than a window "
                f"({_hours(window)}): no score before {format_time(first + window)}; give the rows in between too"
            )
        elif begin > reach.start + timedelta(seconds=known.step_seconds):
            missing.append(_short(kind, window, span, first, begin))
    return Context(pa.concat_tables(tables, promote_options="default") if tables else None, tuple(missing))


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
