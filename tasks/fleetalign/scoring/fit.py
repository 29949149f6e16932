"""Whether telemetry fits a release: its kinds, entities, metrics and spacing."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import DEFAULT_ENTITY, KEY_COLUMNS
from fleetalign.interval import Interval
from fleetalign.scoring.kind_scorer import KindScorer
from fleetalign.scoring.score_table import by_entity, kinds_of
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import lake
from fleetalign.storage.store import Store

LOOKED_THROUGH = 20_000
"""Most known ids that the nearest one is looked for among."""
SAME_SPACING = 1.5
"""A median spacing within this factor of the step counts as the step."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How telemetry fits a release."""

    doubts: tuple[str, ...]
    """A sentence for each thing that does not fit."""
    usable: bool
    """Whether a row is of a kind of the release and has one of its metrics."""


def fit(scorer: Scorer, telemetry: pa.Table) -> Fit:
    """Compare ``telemetry`` (TELEMETRY) with the release of ``scorer``.

    Raises:
        BadInput: As ``Scorer.score``.
    """
    doubts: list[str] = []
    usable = False
    for kind, rows in kinds_of(telemetry):
        known = scorer.kind(kind)
        if known is None:
            doubts.append(_unknown_kind(scorer, kind, rows.num_rows))
            continue
        absent = [metric for metric in known.metrics if not _measured(rows, metric)]
        usable |= len(absent) < len(known.metrics)
        if absent:
            doubts.append(_absent(kind, absent, rows.schema.names, known))
        doubts += _strangers(scorer, kind, known, pc.unique(rows["entity_id"]).to_pylist())
        doubts += _spacing(kind, known, rows)
    return Fit(tuple(doubts), usable)


def stored_doubts(store: Store, scorer: Scorer, span: Interval) -> list[str]:
    """Say what of the validated telemetry of ``span`` does not fit the release.

    Raises:
        Corrupt: A part of a partition differs from its sha256.
    """
    doubts = []
    partitions = lake.list_partitions(store, "validated", within=span)
    for kind in sorted({partition.kind for partition in partitions}):
        mine = [partition for partition in partitions if partition.kind == kind]
        known = scorer.kind(kind)
        if known is None:
            rows = sum(partition.rows for partition in mine)
            doubts.append(_unknown_kind(scorer, kind, rows))
            continue
        stored = sorted({metric for partition in mine for metric in partition.metrics})
        absent = [metric for metric in known.metrics if metric not in stored]
        if absent:
            doubts.append(_absent(kind, absent, stored, known))
        doubts += _strangers(scorer, kind, known, lake.entity_ids(store, mine, kind).to_pylist())
    return doubts


def _unknown_kind(scorer: Scorer, kind: str, rows: int) -> str:
    return f"kind {kind} is not in the release ({', '.join(scorer.kinds)}): its {rows} rows get no score"


def _measured(rows: pa.Table, metric: str) -> bool:
    return metric in rows.schema.names and rows[metric].null_count < rows.num_rows


def _absent(kind: str, absent: list[str], columns: list[str], known: KindScorer) -> str:
    others = [name for name in columns if name not in KEY_COLUMNS and name not in known.metrics]
    instead = f"; the rows have {_some(others)}" if others else ""
    noun = "metric" if len(absent) == 1 else "metrics"
    return (
        f"kind {kind}: {noun} {_some(absent)} of the release {'is' if len(absent) == 1 else 'are'} in no row{instead}"
    )


def _strangers(scorer: Scorer, kind: str, known: KindScorer, ids: list[str]) -> list[str]:
    """Name those of the entities ``ids`` that the release has no row of."""
    strangers = [entity_id for entity_id in ids if not known.knows(entity_id)]
    if not strangers:
        return []
    names = scorer.aligner.read(KEY_COLUMNS[:2])
    mine = names.filter(pc.equal(names["kind"], kind))["entity_id"].slice(0, LOOKED_THROUGH).to_pylist()
    near = difflib.get_close_matches(strangers[0], [name for name in mine if name != DEFAULT_ENTITY], n=1)
    nearest = f" (the release knows {near[0]})" if near else ""
    return [
        f"{len(strangers)} of {len(ids)} entities of {kind} are unknown to the release, such as {_shown(strangers[0])}{nearest}: "
        "they are scored with the numbers of the whole fleet"
    ]


def _spacing(kind: str, known: KindScorer, rows: pa.Table) -> list[str]:
    """Compare the median spacing of an entity's rows with the release's step."""
    ordered = rows.select(["entity_id", "timestamp"]).sort_by([("entity_id", "ascending"), ("timestamp", "ascending")])
    times = ordered["timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
    gaps = [np.diff(times[begin:end]) for begin, end in by_entity(ordered["entity_id"])]
    apart = np.concatenate(gaps) if gaps else np.empty(0, dtype=np.int64)
    apart = apart[apart > 0]
    if not len(apart):
        return []
    seconds = float(np.median(apart)) / 1e6
    if known.step_seconds / SAME_SPACING <= seconds <= known.step_seconds * SAME_SPACING:
        return []
    return [f"kind {kind}: times are {seconds:,.0f} s apart, the release has {known.step_seconds:,} s"]


def _shown(entity_id: str) -> str:
    """Quote an id with blanks at its ends: they would not be seen."""
    return repr(entity_id) if entity_id != entity_id.strip() else entity_id


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
