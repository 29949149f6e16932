"""Which entities a report explains, and what it says of them: the lines of ``fleetalign explain``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fleetalign.align.plan import partitions_of, plan_config, range_of, read_statements
from fleetalign.contracts.feedback import Statements
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, from_parquet
from fleetalign.evaluate.report import ExplainedEntity
from fleetalign.release.explain import entity_lines, muted_of, said_about
from fleetalign.release.explain_page import Pager
from fleetalign.release.judging import aligner_rows
from fleetalign.release.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.store import Store

MOST_MOVED = 3
"""How many entities whose threshold moved furthest are explained, beside those that page most."""
Key = tuple[str, str]


def explained_entities(
    store: Store, plan: Mapping[str, Any], aligned: Mapping[str, Any], scorer: Scorer
) -> list[ExplainedEntity]:
    """The entities of a release that an operator is most likely to ask about, explained as of its plan.

    Those that page most (from ``aligned``, the receipt of the fleet step), and those whose threshold
    moved furthest from the aligner before. Telemetry and statements are the plan's: the same plan, the same lines.
    """
    rows = aligner_rows(store, scorer.manifest)
    by_key = {(row["kind"], row["entity_id"]): row for row in rows}
    said, mutes = (read_statements(store, plan, what) for what in ("feedback", "mutes"))
    found = []
    for (kind, entity_id), why in _chosen(by_key, aligned, _before(store, plan)).items():
        row = by_key[kind, entity_id]
        lines = entity_lines(row, rows, scorer.manifest.kinds[kind]["window_steps"], plan, aligned)
        lines += said_about(said, kind, entity_id) + muted_of(mutes, kind, entity_id)
        merge_steps, partitions = plan_config(plan).align.merge_steps, partitions_of(plan, kind)
        pager = Pager(store, scorer, kind, Statements(said, kind), merge_steps, partitions)
        end = (range_of(plan, kind, "judge") or range_of(plan, kind, "calibrate")).end
        found.append(ExplainedEntity(kind, entity_id, "; ".join(why), [*lines, *pager.last_page(entity_id, end)]))
    return found


def _chosen(
    rows: Mapping[Key, Mapping[str, Any]], aligned: Mapping[str, Any], before: Sequence[Mapping[str, Any]]
) -> dict[Key, list[str]]:
    """Entity to why it was chosen."""
    chosen: dict[Key, list[str]] = {}
    for entry in aligned["most_paged"]:
        key = (entry["kind"], entry["entity_id"])
        chosen.setdefault(key, []).append(f"pages in the calibrate range: {entry['pages']:g}")
    moved = []
    for old in before:
        key = (old["kind"], old["entity_id"])
        new = rows.get(key)
        if new and new["threshold"] != old["threshold"] and min(new["threshold"], old["threshold"]) > 0:
            moved.append((-abs(math.log(new["threshold"] / old["threshold"])), key, old["threshold"]))
    for _, key, old_threshold in sorted(moved)[:MOST_MOVED]:
        text = f"threshold moved from {old_threshold:.6g} to {rows[key]['threshold']:.6g}"
        chosen.setdefault(key, []).append(text)
    return chosen


def _before(store: Store, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the aligner that the plan follows, of entities alone; none when it follows no other."""
    if not plan["previous_aligner"]:
        return []
    key = layout.aligner(plan["previous_aligner"])
    table = ALIGNER.conform(from_parquet(store.get(key), f"{store.uri}/{key}"))
    return [row for row in table.to_pylist() if row["entity_id"] != DEFAULT_ENTITY]
