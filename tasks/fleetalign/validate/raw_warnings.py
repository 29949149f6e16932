"""Warnings about a raw partition: metrics that end, and values taken for repeats."""

from __future__ import annotations

import pyarrow as pa

from fleetalign.interval import LENGTHS, Granularity, Interval
from fleetalign.storage.lake import Partition, get_partition
from fleetalign.storage.quarantine import Rule
from fleetalign.storage.store import Store

MOST_NAMED = 20
MOST_REPEATS = 0.01
"""Share of values that may be repeats: a source sends a sample twice now and then."""


def raw_warnings(store: Store, raw: Partition, table: pa.Table, granularity: Granularity) -> list[str]:
    """Return a sentence per metric that ended with the partition before, one on repeats.

    ``table`` is the content of ``raw``.
    """
    start = raw.interval.start
    before = get_partition(store, "raw", raw.kind, Interval(start - LENGTHS[granularity], start), granularity)
    ended = [name for name in before.metrics if name not in raw.metrics] if before else []
    warnings = [f"metric {name!r} ends: the {granularity} before has it, this one has no value" for name in ended]
    if len(warnings) > MOST_NAMED:
        warnings = [*warnings[:MOST_NAMED], f"… and {len(warnings) - MOST_NAMED} more metrics end"]
    repeats = raw.document["counts"].get("quarantined_cells", {}).get(Rule.DUPLICATE_CELL, 0)
    num_values = sum(table.num_rows - table[name].null_count for name in raw.metrics)
    if repeats > MOST_REPEATS * (repeats + num_values):
        share = repeats / (repeats + num_values)
        warnings.append(
            f"{share:.0%} of the values are repeats ({repeats} of {repeats + num_values}) that ingest set aside: a column "
            "may tell series apart; see fleetalign inspect"
        )
    return warnings
