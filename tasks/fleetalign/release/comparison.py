"""Compares a candidate with the champion on the candidate's data, then promotes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.manifest import Gate
from fleetalign.contracts.plan import RangeName
from fleetalign.evaluate import gates
from fleetalign.evaluate.bootstrap import Estimate
from fleetalign.evaluate.figures import Figures, difference
from fleetalign.evaluate.judge import judge
from fleetalign.plan.document import entities, plan_config
from fleetalign.release.backtest import sent
from fleetalign.release.build import Built, collect
from fleetalign.release.figures import figures, judged, labelled_entities
from fleetalign.release.promote import Comparison, assess, promote
from fleetalign.release.replay import sample, traces
from fleetalign.release.verdict import markdown
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.store import Store

PAGES_SAMPLE = 100
"""Entities whose pages are counted under both releases."""
RateEvidence = Callable[[Store, str], str]
"""Returns further evidence of the pages of a release, as the end of a sentence; empty without any."""


def promote_release(
    store: Store,
    config: Config,
    release_id: str,
    evidence: RateEvidence,
    *,
    channel: str,
    by: str,
    why: str,
    force: bool = False,
) -> dict[str, Any]:
    """Promote a release if its gates and the comparison with the champion allow it."""
    outcome = promote(
        store,
        release_id,
        channel,
        by,
        why,
        _comparison(store, config, release_id, evidence),
        force=force,
        expires_after_hours=config.release.expires_after_hours,
    )
    return {
        "release_id": release_id,
        "channel": channel,
        "moved": outcome.moved,
        "why": outcome.why,
        "champion_before": outcome.champion_id,
        "sequence": outcome.pointer.sequence,
    }


def promotion_verdict(
    store: Store, config: Config, release_id: str, evidence: RateEvidence, *, channel: str, force: bool = False
) -> str | None:
    """Describe a promotion as Markdown for its approver; None when nothing would move.

    Raises GateRefused as the promotion itself would, so that only a possible promotion is put to a person.
    """
    found = assess(store, release_id, channel, _comparison(store, config, release_id, evidence), force=force)
    if found.stays:
        return None
    found.refuse_unless(force)
    return markdown(found)


def _comparison(store: Store, config: Config, release_id: str, evidence: RateEvidence) -> Comparison:
    return lambda champion_id: comparison_gates(store, config, release_id, champion_id, evidence)


def comparison_gates(
    store: Store, config: Config, release_id: str, champion_id: str | None, evidence: RateEvidence
) -> Sequence[Gate]:
    """Compare event F1, pages and coverage with the champion's, over the candidate's time."""
    if champion_id is None:
        return [
            gates.event_f1_vs_champion(None),
            gates.pages_vs_champion(None, None, config.gates.max_pages_ratio_vs_champion),
            gates.coverage_vs_champion({}, None),
        ]
    built = collect(store, store.get_json(layout.release(release_id, "provenance.json"))["plan_id"])
    settings = plan_config(built.plan)
    candidate, champion = Scorer.open(store, release=release_id), Scorer.open(store, release=champion_id)
    return [
        gates.event_f1_vs_champion(_event_f1_difference(store, built, candidate, champion, settings)),
        gates.pages_vs_champion(
            _pages(store, built, candidate, settings),
            _pages(store, built, champion, settings),
            settings.gates.max_pages_ratio_vs_champion,
            evidence(store, champion_id),
        ),
        gates.coverage_vs_champion(*(scorer.manifest.coverage.by_state for scorer in (candidate, champion))),
    ]


def _event_f1_difference(
    store: Store, built: Built, candidate: Scorer, champion: Scorer, settings: Config
) -> Estimate | None:
    """Candidate minus champion, on time that neither was fitted on; None when there is none.

    Without a judge range the candidate's side is its held-out incidents.
    """
    own = figures(store, built.plan, candidate, built.aligned, settings)
    if own is None or own.incidents == 0:
        return None
    name: RangeName = "judge" if own.protocol == "judge_range" else "calibrate"
    labelled = {
        k: ids for k, ids in labelled_entities(store, built.plan, name).items() if _unseen(champion, built, k, name)
    }
    chosen = sample(labelled, settings.gates.max_judged_entities, settings.align.seed)
    theirs: Figures = judge(
        (judged(t, 0.0) for t in traces(store, built.plan, champion, chosen, name, settings)),
        merge_steps=settings.align.merge_steps,
        samples=0,
        seed=settings.align.seed,
        control_seeds=1,
    )
    shared = [key for key in own.per_entity if key in theirs.per_entity]
    if not shared:
        return None
    return difference(
        [own.per_entity[key] for key in shared],
        [theirs.per_entity[key] for key in shared],
        samples=settings.gates.bootstrap_samples,
        seed=settings.align.seed,
    )


def _unseen(champion: Scorer, built: Built, kind: str, name: RangeName) -> bool:
    """Say whether the champion was fitted before the candidate's range begins.

    Otherwise the comparison would favour the champion.
    """
    fitted = champion.manifest.ranges.get(kind)
    span = built.plan.kinds[kind].ranges.named(name)
    return fitted is not None and span is not None and fitted.calibrate.end <= span.start


def _pages(store: Store, built: Built, scorer: Scorer, settings: Config) -> float | None:
    rows = entities(store, built.plan)
    everyone = {kind: rows.filter(pc.equal(rows["kind"], kind))["entity_id"].to_pylist() for kind in built.plan.kinds}
    some = sample(everyone, PAGES_SAMPLE, settings.align.seed)
    scored = traces(store, built.plan, scorer, some, "calibrate", settings)
    return sent(scorer.release_id, scored, settings.align.merge_steps).per_entity_day
