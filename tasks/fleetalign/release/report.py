"""Fills the report of a release: figures, gates, loss curves and chosen entities."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fleetalign.config import Config
from fleetalign.contracts.feedback import ANOMALY, intervals
from fleetalign.contracts.manifest import Manifest
from fleetalign.contracts.plan import Plan, RangeName
from fleetalign.contracts.receipts import AlignReceipt
from fleetalign.evaluate.figures import Figures
from fleetalign.evaluate.measures import f_beta, pages
from fleetalign.evaluate.outcomes import EntityCounts
from fleetalign.explain.chosen import explained_entities
from fleetalign.explain.plots import EntityTrace, LossCurve
from fleetalign.explain.release_page import ReportData, render
from fleetalign.plan import receipts
from fleetalign.plan.document import entities
from fleetalign.release.replay import Trace, traces
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.store import Store

ROLES = ("best", "median", "worst")


def render_report(
    store: Store,
    plan: Plan,
    scorer: Scorer,
    manifest: Manifest,
    judged: Figures | None,
    aligned: AlignReceipt,
    config: Config,
) -> bytes:
    """Render the report of the release that ``manifest`` describes, as UTF-8 HTML.

    ``aligned`` is the receipt of the fleet step, ``judged`` the figures (None: nothing was judged).
    """
    kinds, losses = [], {}
    for kind, entry in manifest.kinds.items():
        card = receipts.card(store, entry.model_id)
        curve = card.training.curve
        if curve:  # a detector without weights has none
            losses[kind] = LossCurve(
                [e.train_loss for e in curve], [e.validation_loss for e in curve], card.training.best_epoch
            )
        kinds.append(
            {
                "kind": kind,
                "entities": str(plan.kinds[kind].entities),
                "metrics": str(len(entry.metrics)),
                "step": f"{entry.step_seconds} s",
                "window": f"{entry.window_steps} steps",
                "network": f"{entry.network}, {card.parameters:,} parameters",
                "model": entry.model_id,
            }
        )
    data = ReportData(
        release_id=manifest.release_id,
        data_version=manifest.data_version,
        kinds=kinds,
        ranges={kind: dict(sorted(ranges.as_document().items())) for kind, ranges in manifest.ranges.items()},
        coverage=aligned.coverage.by_state,
        gates=manifest.gates,
        figures=judged.table() if judged else (),
        protocol=judged.protocol if judged else "",
        judged=_how_much(judged) if judged else "",
        unjudged_why="" if judged else "there is no feedback about the judged time yet; the page budget decides",
        losses=losses,
        traces=_traces(store, plan, scorer, judged, config),
        explained=explained_entities(store, plan, aligned, scorer),
    )
    return render(data)


def _how_much(judged: Figures) -> str:
    return f"{len(judged.detector)} entities, {judged.incidents:g} incidents, {judged.judged_days:.1f} labelled entity-days"


def _traces(store: Store, plan: Plan, scorer: Scorer, judged: Figures | None, config: Config) -> list[EntityTrace]:
    """Trace the best, median and worst entity by event F1.

    Without feedback they are the first, middle and last by name.
    """
    if judged and judged.detector:
        ranked = sorted(judged.detector, key=lambda c: (-_f1(c), -c.incidents, c.kind, c.entity_id))
        summaries = {(c.kind, c.entity_id): _summary(c) for c in ranked}
        keys = [(c.kind, c.entity_id) for c in ranked]
        roles = ROLES
    else:
        everyone = entities(store, plan)
        places = (0, everyone.num_rows // 2, everyone.num_rows - 1)
        keys = [tuple(row.values()) for row in everyone.take(pa.array(places)).to_pylist()]
        summaries = dict.fromkeys(keys, "no feedback")
        roles = ("first by name", "in the middle", "last by name")
    chosen = {keys[i]: role for role, i in zip(roles, (0, len(keys) // 2, len(keys) - 1), strict=True)}
    name: RangeName = "judge" if judged and judged.protocol == "judge_range" else "calibrate"
    wanted = {kind: sorted(e for k, e in chosen if k == kind) for kind in plan.kinds}
    found = {(t.kind, t.entity_id): t for t in traces(store, plan, scorer, wanted, name, config)}
    return [_plotted(found[key], role, summaries[key], config) for key, role in chosen.items() if key in found]


def _f1(counts: EntityCounts) -> float:
    return f_beta(counts.hits, counts.false_pages, counts.missed)


def _summary(counts: EntityCounts) -> str:
    return (
        f"event F1 {_f1(counts):.2f}: {counts.hits:g} of {counts.incidents:g} incidents hit, "
        f"{counts.false_pages:g} false pages in labelled time"
    )


def _plotted(trace: Trace, role: str, summary: str, config: Config) -> EntityTrace:
    return EntityTrace(
        role=role,
        kind=trace.kind,
        entity_id=trace.entity_id,
        summary=summary,
        times=trace.times,
        score=trace.score,
        margin=trace.margin,
        pages=pages(np.nan_to_num(trace.margin, nan=-1.0) > 0, config.align.merge_steps),
        incidents=intervals(trace.labels == ANOMALY),
    )
