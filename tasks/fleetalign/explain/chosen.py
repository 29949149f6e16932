"""Chooses the entities that a report explains, with the lines of ``fleetalign explain``."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from fleetalign.align.threshold_changes import compare
from fleetalign.contracts.feedback import Statements
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.receipts import AlignReceipt, PagedEntity
from fleetalign.contracts.tables import ALIGNER, from_parquet
from fleetalign.explain.explain import entity_lines, mute_lines, statement_lines
from fleetalign.explain.page import Pager
from fleetalign.explain.release_page import ExplainedEntity
from fleetalign.plan.document import partitions_of, plan_config, read_statements
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.manifest import aligner_table
from fleetalign.storage.store import Store

MOST_MOVED = 3
"""How many entities whose threshold moved furthest are explained, besides those that page most."""
Key = tuple[str, str]


def explained_entities(store: Store, plan: Plan, aligned: AlignReceipt, scorer: Scorer) -> list[ExplainedEntity]:
    """Explain the entities of a release that operators are most likely to ask about.

    These are the entities that page most (from ``aligned``, the receipt of the fleet step), and those whose threshold
    moved furthest from the previous aligner. Telemetry and statements are the plan's: the same plan, the same lines.
    """
    aligner = aligner_table(store, scorer.manifest)
    feedback, mutes = (read_statements(store, plan, what) for what in ("feedback", "mutes"))
    found = []
    for (kind, entity_id), why in _chosen(aligner, aligned.most_paged, _before(store, plan)).items():
        row = scorer.aligner.rows(kind, [entity_id]).to_pylist()[0]
        lines = entity_lines(row, aligner, scorer.manifest.kinds[kind].window_steps, plan, aligned)
        lines += statement_lines(feedback, kind, entity_id) + mute_lines(mutes, kind, entity_id)
        merge_steps, partitions = plan_config(plan).align.merge_steps, partitions_of(plan, kind)
        pager = Pager(store, scorer, kind, Statements(feedback, kind), merge_steps, partitions)
        ranges = plan.kinds[kind].ranges
        end = (ranges.judge or ranges.calibrate).end
        found.append(ExplainedEntity(kind, entity_id, "; ".join(why), [*lines, *pager.last_page(entity_id, end)]))
    return found


def _chosen(aligner: pa.Table, most_paged: Sequence[PagedEntity], before: pa.Table) -> dict[Key, list[str]]:
    """Choose entities, each with the reasons.

    ``before`` is the previous aligner, empty if there is none.
    """
    chosen: dict[Key, list[str]] = {}
    for entry in most_paged:
        key = (entry.kind, entry.entity_id)
        chosen.setdefault(key, []).append(f"pages in the calibrate range: {entry.pages:g}")
    changes = compare(FleetTable.of(ALIGNER, aligner), FleetTable.of(ALIGNER, before))
    order = changes.furthest()
    furthest = order[changes.moved[order]][:MOST_MOVED]
    for row, earlier in zip(aligner.take(furthest).to_pylist(), changes.before[furthest], strict=True):
        text = f"threshold moved from {earlier:.6g} to {row['threshold']:.6g}"
        chosen.setdefault((row["kind"], row["entity_id"]), []).append(text)
    return chosen


def _before(store: Store, plan: Plan) -> pa.Table:
    """Read the previous aligner of the plan; empty if there is none."""
    if not plan.previous_aligner:
        return ALIGNER.empty()
    key = layout.aligner(plan.previous_aligner)
    return ALIGNER.conform(from_parquet(store.get(key), f"{store.uri}/{key}"))
