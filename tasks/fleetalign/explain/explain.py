"""Lines that explain one entity.

They describe its state, its threshold, the feedback about it, and its page at one instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.feedback import Statements, unique
from fleetalign.contracts.mutes import ANY, in_words
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.receipts import AlignReceipt
from fleetalign.contracts.tables import DEFAULT_ENTITY, RETRACTED
from fleetalign.errors import NotFound, UsageError
from fleetalign.explain.page import Line, Pager
from fleetalign.interval import format_time
from fleetalign.plan import receipts
from fleetalign.plan.document import plan_config, read_plan, read_statements
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.attributes import resolved_feedback
from fleetalign.storage.manifest import aligner_table, read_manifest
from fleetalign.storage.store import Store

STATEMENTS_SHOWN = 5
STATES = {
    "aligned": "its own feedback moved it away from the fleet's values",
    "shared": "the fleet's condition and tail probability, its own quantile",
    "default": "too little normal time in the calibrate range: the kind's default row",
    "carried_over": "no new telemetry: its row of the previous aligner, same model and normalizer",
    "quarantined": "its telemetry gave no score: the kind's default row",
    "new": "fewer samples than align.min_history_steps: the kind's default row",
    "gone": "no telemetry in the calibrate range: the kind's default row",
}


def explained(store: Store, release_id: str, name: str, at: datetime | None = None) -> tuple[str, list[Line]]:
    """Return ``KIND/ID`` and the lines that explain the aligner row and the page at ``at``.

    ``name`` is ``ID`` or ``KIND/ID``.

    Raises:
        NotFound: There is no such release or entity.
        UsageError: Several kinds have an entity with that id.
        BadInput: There is no telemetry at ``at``.
    """
    manifest = read_manifest(store, release_id)
    aligner = aligner_table(store, manifest)
    row = _find(aligner, name, sorted(manifest.kinds))
    kind, entity_id = row["kind"], row["entity_id"]
    plan_id = store.get_json(layout.release(release_id, "provenance.json"))["plan_id"]
    plan = read_plan(store, plan_id)
    aligned = receipts.read_align(store, plan_id)
    lines = entity_lines(row, aligner, manifest.kinds[kind].window_steps, plan, aligned)
    lines += statement_lines(read_statements(store, plan, "feedback"), kind, entity_id)
    lines += mute_lines(read_statements(store, plan, "mutes"), kind, entity_id)
    if at is not None:
        statements, merge_steps = (
            Statements(unique(resolved_feedback(store)), kind),
            plan_config(plan).align.merge_steps,
        )
        pager = Pager(store, Scorer.open(store, release=release_id), kind, statements, merge_steps)
        lines += pager.page_at(entity_id, at)
    return f"{kind}/{entity_id}", lines


def entity_lines(
    row: Mapping[str, Any],
    aligner: pa.Table,
    window_steps: int,
    plan: Plan,
    aligned: AlignReceipt,
) -> list[Line]:
    """Describe the state and threshold of an entity, and where both come from.

    Args:
        row: The entity's row of ``aligner``.
        aligner: The aligner table of the release.
        window_steps: Samples of one window.
        plan: The plan of the release.
        aligned: The receipt of the plan's fleet step.
    """
    shared = aligned.shared
    fleet = f"the fleet: {shared.tail_probability:.3g}"
    lines = [
        ("state", f"{row['state']}: {STATES[row['state']]}" + (f" ({row['reason']})" if row["reason"] else "")),
        ("alarm when", _alarm(row, window_steps)),
        (
            "tail",
            f"{row['tail_probability']:.3g} of its normal samples may exceed that; {fleet}"
            + (f" at C = {shared.condition}" if row["condition"] else ""),
        ),
        (
            "feedback",
            f"{row['incidents']} anomaly intervals of its own, {plan.feedback.rows} statements in the fleet",
        ),
        ("calibrated", f"until {row['calibrated_until']:%Y-%m-%d %H:%M} UTC"),
    ]
    if aligned.prior_weight is None:
        budget = plan_config(plan).align.pages_per_entity_day
        lines.append(("fleet", f"no incident has been reported yet: the page budget ({budget:g} a day) decides"))
    else:
        weight = f"k = {aligned.prior_weight:g} average entities (chosen by leave-one-incident-out)"
        lines.append(("prior", f"the fleet counts for {weight}"))
    lines += _held_out(aligned, row["kind"], row["entity_id"])
    entities = pc.and_(pc.equal(aligner["kind"], row["kind"]), pc.not_equal(aligner["entity_id"], DEFAULT_ENTITY))
    own = aligner.filter(entities)["threshold"].to_numpy()
    if len(own) > 1:
        higher = f"{np.mean(own < row['threshold']):.0%}"
        lines.append(("rank", f"its threshold is higher than that of {higher} of its kind"))
    return lines


def _alarm(row: Mapping[str, Any], window: int) -> str:
    if row["condition"] == 0:  # the network's margin does not use C (contracts 3.4)
        return f"score > {row['threshold']:.6g}"
    before = row["condition"] - 1
    return (
        f"score - max(E of the {before} window positions before) > {row['threshold']:.6g}"
        f"   (C = {row['condition']} of {window} steps)"
    )


def statement_lines(feedback: pa.Table, kind: str, entity_id: str) -> list[Line]:
    """Describe the newest statements about an entity, retracted or not.

    ``feedback`` comes from ``unique``.
    """
    retracted_by = dict(zip(feedback["retracts"].to_pylist(), feedback["source"].to_pylist(), strict=True))
    mine = feedback.filter(pc.and_(pc.equal(feedback["kind"], kind), pc.equal(feedback["entity_id"], entity_id)))
    statements = [statement for statement in mine.to_pylist() if statement["verdict"] != RETRACTED]
    lines = []
    for one in statements[: -STATEMENTS_SHOWN - 1 : -1]:
        by = retracted_by.get(one["feedback_id"])
        retracted = f", retracted by {by}" if by is not None else ""
        note = f": {one['note']}" if one["note"] else ""
        span = f"from {format_time(one['start'])} to {format_time(one['end'])}"
        lines.append(
            ("statement", f"{one['feedback_id']} {one['verdict']} {span}, by {one['source']}{note}{retracted}")
        )
    if len(statements) > len(lines):
        earlier = f"and {len(statements) - len(lines)} earlier statements; `fleetalign feedback list` shows them"
        lines.append(("statement", earlier))
    return lines


def mute_lines(mutes: pa.Table, kind: str, entity_id: str) -> list[Line]:
    """Describe the mutes of an entity, and those of every entity of its kind."""
    mine = [m for m in mutes.to_pylist() if m["kind"] == kind and m["entity_id"] in (ANY, entity_id)]
    return [("muted", in_words(mute)) for mute in mine]


def _find(aligner: pa.Table, name: str, kinds: list[str]) -> dict[str, Any]:
    kind, _, rest = name.partition("/")
    of_kind = pc.and_(pc.equal(aligner["kind"], kind), pc.equal(aligner["entity_id"], rest))
    matches: list[dict[str, Any]] = aligner.filter(pc.or_(pc.equal(aligner["entity_id"], name), of_kind)).to_pylist()
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"{name!r} names {len(matches)} entities; write KIND/ID with a kind of {', '.join(kinds)}")
    raise NotFound(f"entity {name!r} has no row in this release; scorers use the default row of its kind for it")


def _held_out(aligned: AlignReceipt, kind: str, entity_id: str) -> list[Line]:
    for counts in aligned.leave_one_out:
        if (counts.kind, counts.entity_id) == (kind, entity_id):
            mine = counts.detector
            found = f"{mine.hits:g} of {mine.hits + mine.missed:g} own incidents found"
            controls = f"random score: {counts.random.hits:g}, own alarms shifted: {counts.shifted.hits:.2f}"
            return [("held out", f"{found} with thresholds that had not seen them ({controls})")]
    return []
