"""Warnings about a raw partition: metrics that end, and values taken for repeats."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fleetalign.contracts.slots import samples_apart_each
from fleetalign.interval import LENGTHS, Granularity, Interval
from fleetalign.storage.lake import Partition, get_partition
from fleetalign.storage.quarantine import Rule
from fleetalign.storage.store import Store

MOST_NAMED = 20
MOST_INTERVALS = 3
MUCH = 1.5
"""Times the step that the interval of an entity is longer or shorter before it is worth a word."""
LEAST_ROWS = 3
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
    return [*warnings, *own_intervals(raw.kind, table, raw.step_seconds)]


def own_intervals(kind: str, table: pa.Table, step_seconds: int) -> list[str]:
    """Return sentences about entities that report less or more often than the others.

    ``table`` has the columns entity_id and timestamp.
    """
    entities = table["entity_id"].combine_chunks().dictionary_encode()
    groups = entities.indices.to_numpy().astype(np.int64)
    seconds = table["timestamp"].to_numpy().astype("datetime64[s]").astype(np.int64)
    usual = samples_apart_each(groups, seconds)
    known = np.bincount(groups, minlength=len(usual)) >= LEAST_ROWS
    sentences = []
    for odd, then in (
        (known & (usual > MUCH * step_seconds), "most of their slots are empty"),
        (known & (usual * MUCH < step_seconds), "several of their samples share a slot, and the last one counts"),
    ):
        if odd.any():
            found = np.unique(usual[odd])[:MOST_INTERVALS].tolist()
            names = sorted(entities.dictionary.filter(pa.array(odd)).to_pylist())
            some = ", ".join(names[:MOST_INTERVALS]) + (", …" if len(names) > MOST_INTERVALS else "")
            sentences.append(
                f"{len(names)} of {len(usual)} entities of kind {kind} report every {' or '.join(map(str, found))} s, the "
                f"kind every {step_seconds} s ({some}): {then}; map them to a kind of their own, or set steps.{kind} to the "
                "longest interval"
            )
    return sentences
