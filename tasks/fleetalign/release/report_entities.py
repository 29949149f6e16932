"""Which entities a report explains, and what it says of them: the lines of ``fleetalign explain``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.align.plan import partitions_of, plan_config, range_of, read_statements
from fleetalign.contracts.feedback import Statements
from fleetalign.contracts.fleet_table import KEY
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, from_parquet
from fleetalign.evaluate.report import ExplainedEntity
from fleetalign.release.explain import entity_lines, muted_of, said_about
from fleetalign.release.explain_page import Pager
from fleetalign.release.judging import aligner_table
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
    aligner = aligner_table(store, scorer.manifest)
    said, mutes = (read_statements(store, plan, what) for what in ("feedback", "mutes"))
    found = []
    for (kind, entity_id), why in _chosen(aligner, aligned, _before(store, plan)).items():
        row = scorer.aligner.rows(kind, [entity_id]).to_pylist()[0]
        lines = entity_lines(row, aligner, scorer.manifest.kinds[kind]["window_steps"], plan, aligned)
        lines += said_about(said, kind, entity_id) + muted_of(mutes, kind, entity_id)
        merge_steps, partitions = plan_config(plan).align.merge_steps, partitions_of(plan, kind)
        pager = Pager(store, scorer, kind, Statements(said, kind), merge_steps, partitions)
        end = (range_of(plan, kind, "judge") or range_of(plan, kind, "calibrate")).end
        found.append(ExplainedEntity(kind, entity_id, "; ".join(why), [*lines, *pager.last_page(entity_id, end)]))
    return found


def _chosen(aligner: pa.Table, aligned: Mapping[str, Any], before: pa.Table) -> dict[Key, list[str]]:
    """Entity to why it was chosen. ``before``: the aligner that this one follows, empty when it follows none."""
    chosen: dict[Key, list[str]] = {}
    for entry in aligned.get("most_paged", ()):
        key = (entry["kind"], entry["entity_id"])
        chosen.setdefault(key, []).append(f"pages in the calibrate range: {entry['pages']:g}")
    for row in _moved(aligner, before).to_pylist():
        text = f"threshold moved from {row['threshold_before']:.6g} to {row['threshold']:.6g}"
        chosen.setdefault((row["kind"], row["entity_id"]), []).append(text)
    return chosen


def _moved(aligner: pa.Table, before: pa.Table) -> pa.Table:
    """Key, ``threshold`` and ``threshold_before`` of the entities whose threshold changed by the largest factor."""
    columns = [*KEY, "threshold"]
    both = aligner.select(columns).join(
        before.select(columns), list(KEY), join_type="inner", right_suffix="_before"
    )  # fmt: skip
    now, old = both["threshold"], both["threshold_before"]
    comparable = pc.and_(pc.not_equal(both["entity_id"], DEFAULT_ENTITY), pc.greater(pc.min_element_wise(now, old), 0))
    both = both.filter(pc.and_(comparable, pc.not_equal(now, old)))
    factor = pc.abs(pc.ln(pc.divide(both["threshold"].cast(pa.float64()), both["threshold_before"])))
    keys = [("factor", "descending"), *((name, "ascending") for name in KEY)]
    return both.append_column("factor", factor).sort_by(keys).slice(0, MOST_MOVED)


def _before(store: Store, plan: Mapping[str, Any]) -> pa.Table:
    """The aligner that the plan follows; empty when it follows none."""
    if not plan["previous_aligner"]:
        return ALIGNER.empty()
    key = layout.aligner(plan["previous_aligner"])
    return ALIGNER.conform(from_parquet(store.get(key), f"{store.uri}/{key}"))
