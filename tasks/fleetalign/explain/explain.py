"""Lines that explain one entity: its state, its threshold, the feedback about it, and its page at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.feedback import Statements, unique
from fleetalign.contracts.mutes import ANY, in_words
from fleetalign.contracts.tables import DEFAULT_ENTITY, RETRACTED
from fleetalign.errors import NotFound, UsageError
from fleetalign.explain.page import Line, Pager
from fleetalign.interval import format_time
from fleetalign.plan.document import plan_config, read_plan, read_statements
from fleetalign.release.figures import aligner_table
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.statements import read_feedback
from fleetalign.storage.store import Store

STATEMENTS_SHOWN = 5
STATES = {
    "aligned": "its own feedback moved it away from the fleet's values",
    "shared": "the fleet's condition and tail probability, its own quantile",
    "default": "too little own history: the kind's default row",
    "carried_over": "nothing new from it: its row of the previous aligner, same model and normalizer",
    "quarantined": "its telemetry gave no score: the kind's default row",
}


def explained(store: Store, release_id: str, name: str, at: datetime | None = None) -> tuple[str, list[Line]]:
    """``KIND/ID`` of one entity, and where its row comes from and what happened at ``at``, line by line.

    ``name`` is ``ID`` or ``KIND/ID``. Raises NotFound, UsageError, and BadInput when there is no telemetry at ``at``.
    """
    manifest = read_manifest(store, release_id)
    aligner = aligner_table(store, manifest)
    row = _find(aligner, name, sorted(manifest.kinds))
    kind, entity_id = row["kind"], row["entity_id"]
    plan_id = store.get_json(layout.release(release_id, "provenance.json"))["plan_id"]
    plan = read_plan(store, plan_id)
    aligned = store.get_json(layout.receipt(plan_id, "align_reduce"))
    lines = entity_lines(row, aligner, manifest.kinds[kind]["window_steps"], plan, aligned)
    lines += said_about(read_statements(store, plan, "feedback"), kind, entity_id)
    lines += muted_of(read_statements(store, plan, "mutes"), kind, entity_id)
    if at is not None:
        said = Statements(unique(read_feedback(store)), kind)
        pager = Pager(store, Scorer.open(store, release=release_id), kind, said, plan_config(plan).align.merge_steps)
        lines += pager.page_at(entity_id, at)
    return f"{kind}/{entity_id}", lines


def entity_lines(
    row: Mapping[str, Any],
    aligner: pa.Table,
    window_steps: int,
    plan: Mapping[str, Any],
    aligned: Mapping[str, Any],
) -> list[Line]:
    """State, threshold and where both come from. ``row`` is the entity's of ``aligner``, the release's;
    ``aligned`` is the receipt of the fleet step of ``plan``."""
    shared = aligned["shared"]
    fleet = f"the fleet: {shared['tail_probability']:.3g}"
    lines = [
        ("state", f"{row['state']}: {STATES[row['state']]}" + (f" ({row['reason']})" if row["reason"] else "")),
        ("alarm when", _alarm(row, window_steps)),
        (
            "tail",
            f"{row['tail_probability']:.3g} of its normal samples may exceed that; {fleet}"
            + (f" at C = {shared['condition']}" if row["condition"] else ""),
        ),
        (
            "feedback",
            f"{row['incidents']} anomaly intervals of its own, {plan['feedback']['rows']} statements in the fleet",
        ),
        ("calibrated", f"until {row['calibrated_until']:%Y-%m-%d %H:%M} UTC"),
    ]
    if aligned["prior_weight"] is None:
        budget = plan_config(plan).align.pages_per_entity_day
        lines.append(("fleet", f"nobody has reported an incident yet: the page budget ({budget:g} a day) decides"))
    else:
        weight = f"k = {aligned['prior_weight']:g} average entities (chosen by leave-one-incident-out)"
        lines.append(("prior", f"the fleet counts for {weight}"))
    lines += _held_out(aligned, row["kind"], row["entity_id"])
    entities = pc.and_(pc.equal(aligner["kind"], row["kind"]), pc.not_equal(aligner["entity_id"], DEFAULT_ENTITY))
    own = aligner.filter(entities)["threshold"].to_numpy()
    if len(own) > 1:
        higher = f"{np.mean(own < row['threshold']):.0%}"
        lines.append(("rank", f"its threshold is higher than that of {higher} of its kind"))
    return lines


def _alarm(row: Mapping[str, Any], window: int) -> str:
    if row["condition"] == 0:  # the network's margin uses none (contracts 3.4)
        return f"score > {row['threshold']:.6g}"
    before = row["condition"] - 1
    return (
        f"score - max(E of the {before} window positions before) > {row['threshold']:.6g}"
        f"   (C = {row['condition']} of {window} steps)"
    )


def said_about(feedback: pa.Table, kind: str, entity_id: str) -> list[Line]:
    """A line for each of the newest statements about the entity, taken back or not; ``feedback`` comes from ``unique``."""
    taken_back = dict(zip(feedback["retracts"].to_pylist(), feedback["source"].to_pylist(), strict=True))
    mine = feedback.filter(pc.and_(pc.equal(feedback["kind"], kind), pc.equal(feedback["entity_id"], entity_id)))
    rows = [row for row in mine.to_pylist() if row["verdict"] != RETRACTED]
    lines = []
    for row in rows[: -STATEMENTS_SHOWN - 1 : -1]:
        by = taken_back.get(row["feedback_id"])
        gone = f", retracted by {by}" if by is not None else ""
        note = f": {row['note']}" if row["note"] else ""
        span = f"from {format_time(row['start'])} to {format_time(row['end'])}"
        lines.append(("said", f"{row['feedback_id']} {row['verdict']} {span}, by {row['source']}{note}{gone}"))
    if len(rows) > len(lines):
        earlier = f"and {len(rows) - len(lines)} earlier statements; `fleetalign feedback list` shows them"
        lines.append(("said", earlier))
    return lines


def muted_of(mutes: pa.Table, kind: str, entity_id: str) -> list[Line]:
    """The mutes of the entity, and those of every entity of its kind."""
    rows = [r for r in mutes.to_pylist() if r["kind"] == kind and r["entity_id"] in (ANY, entity_id)]
    return [("muted", in_words(row)) for row in rows]


def _find(aligner: pa.Table, name: str, kinds: list[str]) -> dict[str, Any]:
    kind, _, rest = name.partition("/")
    of_kind = pc.and_(pc.equal(aligner["kind"], kind), pc.equal(aligner["entity_id"], rest))
    matches = aligner.filter(pc.or_(pc.equal(aligner["entity_id"], name), of_kind)).to_pylist()
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"{name!r} names {len(matches)} entities; write KIND/ID with a kind of {', '.join(kinds)}")
    raise NotFound(f"entity {name!r} has no row in this release; scorers use the default row of its kind for it")


def _held_out(aligned: Mapping[str, Any], kind: str, entity_id: str) -> list[Line]:
    for entry in aligned["leave_one_out"]:
        if (entry["kind"], entry["entity_id"]) == (kind, entity_id):
            mine = entry["detector"]
            found = f"{mine['hits']:g} of {mine['hits'] + mine['missed']:g} own incidents found"
            controls = f"random score: {entry['random']['hits']:g}, own alarms shifted: {entry['shifted']['hits']:.2f}"
            return [("held out", f"{found} with thresholds that had not seen them ({controls})")]
    return []
