"""The figures of quality of a release, from its replayed scores or from a table of scores.

Quality is judged on entities with feedback in the judge range; without a judge range on held-out incidents of the
calibrate range, whose counts the fleet step left in its receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.feedback import UNLABELLED, Statements, in_force, unique
from fleetalign.contracts.plan import Plan, RangeName
from fleetalign.contracts.receipts import AlignReceipt, EventCounts, HeldOutCounts
from fleetalign.contracts.tables import DEFAULT_ENTITY, TIME
from fleetalign.errors import BadInput
from fleetalign.evaluate.figures import SIDES, Figures
from fleetalign.evaluate.judge import JudgedEntity, judge
from fleetalign.evaluate.outcomes import EntityCounts
from fleetalign.interval import format_time
from fleetalign.plan.document import entities, read_statements
from fleetalign.release.replay import Trace, sample, traces
from fleetalign.scoring.score_table import by_entity
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.panel import as_datetime64
from fleetalign.storage.store import Store

Alarms = Mapping[tuple[str, str], np.ndarray]
"""Alarms bool [t] by kind and entity."""


def labelled_entities(store: Store, plan: Plan, name: RangeName) -> dict[str, list[str]]:
    """Find the entities per kind with feedback in the range ``name`` of the plan."""
    feedback = in_force(read_statements(store, plan, "feedback"))
    found: dict[str, list[str]] = {}
    for kind in sorted(plan.kinds):
        span = plan.kinds[kind].ranges.named(name)
        if span is None:
            continue
        mine = feedback.filter(pc.equal(feedback["kind"], kind))
        inside = pc.and_(
            pc.less(mine["start"], pa.scalar(span.end, TIME)), pc.greater(mine["end"], pa.scalar(span.start, TIME))
        )
        named = pc.unique(mine.filter(inside)["entity_id"])
        stored = entities(store, plan, (pc.field("kind") == kind) & pc.field("entity_id").isin(named))
        found[kind] = stored["entity_id"].to_pylist()
    return found


def _alarms(traces: Iterable[Trace]) -> Alarms:
    return {trace.key: trace.margin > 0 for trace in traces}


def judged(trace: Trace, tail_probability: float, untrained: Alarms | None = None) -> JudgedEntity:
    """Prepare a trace for the judge, which leaves unlabelled time out.

    ``untrained`` holds the alarms of the untrained control (None: it was not run); an entity that it lacks has no alarms.
    """
    return JudgedEntity(
        trace.kind,
        trace.entity_id,
        alarms=trace.margin > 0,
        scored=np.isfinite(trace.margin),
        labels=trace.labels,
        judged=np.ones(len(trace.labels), dtype=bool),
        tail_probability=tail_probability,
        step_seconds=trace.step_seconds,
        untrained=None if untrained is None else untrained.get(trace.key, np.zeros(len(trace.labels), dtype=bool)),
    )


def figures(
    store: Store,
    plan: Plan,
    scorer: Scorer,
    aligned: AlignReceipt,
    config: Config,
    control: Scorer | None = None,
) -> Figures | None:
    """Judge the release that ``plan`` builds; None without feedback to judge by.

    ``aligned`` is the receipt of the fleet step, ``control`` a scorer of the untrained network's graph and aligner.
    """
    samples, seed = config.gates.bootstrap_samples, config.align.seed
    if any(kind.ranges.judge for kind in plan.kinds.values()):
        tails = {(t.kind, t.entity_id): t.tail_probability for t in aligned.random_tail_probabilities}
        tail = aligned.random_tail_probability
        if tail is None:
            tail = aligned.shared.tail_probability
        chosen = sample(labelled_entities(store, plan, "judge"), config.gates.max_judged_entities, seed)
        untrained = _alarms(traces(store, plan, control, chosen, "judge", config)) if control else None
        found = judge(
            (
                judged(trace, tails.get(trace.key, tail), untrained)
                for trace in traces(store, plan, scorer, chosen, "judge", config)
            ),
            merge_steps=config.align.merge_steps,
            samples=samples,
            seed=seed,
        )
        return found if found.detector else None
    if not aligned.leave_one_out:
        return None
    has_control = any(counts.untrained for counts in aligned.leave_one_out)
    return Figures.from_counts(
        *(
            [_held_out(counts, getattr(counts, side), plan) for counts in aligned.leave_one_out]
            for side in (SIDES if has_control else SIDES[:-1])
        ),
        protocol="leave_one_incident_out",
        samples=samples,
        seed=seed,
    )


def _held_out(entity: HeldOutCounts, counts: EventCounts | None, plan: Plan) -> EntityCounts:
    """Return the counts of one side; without ``counts`` it missed all incidents.

    That is the case of an untrained network that could not score the entity.
    """
    if counts is None:
        incidents = entity.detector.hits + entity.detector.missed
        counts = EventCounts(hits=0.0, missed=incidents, false_pages=0.0)
    seconds = entity.judged_steps * plan.kinds[entity.kind].step_seconds
    return EntityCounts(entity.kind, entity.entity_id, counts.hits, counts.missed, counts.false_pages, float(seconds))


def judge_scores(
    scorer: Scorer,
    scores: pa.Table,
    feedback: pa.Table,
    config: Config,
    untrained: pa.Table | None = None,
) -> Figures:
    """Judge a scores table by ``feedback`` about time after the release's calibrate range.

    ``untrained`` holds the untrained control's scores of the same telemetry (None: that control is not shown).
    Time that thresholds were fitted on is not judged (contracts 1.4). Raises BadInput when nothing is left.
    """
    feedback = unique(feedback)
    control = None
    if untrained is not None:
        control = _alarms(trace for trace, _ in _score_traces(scorer, untrained, feedback))
    found = judge(
        (judged(trace, tail, control) for trace, tail in _score_traces(scorer, scores, feedback)),
        merge_steps=config.align.merge_steps,
        samples=config.gates.bootstrap_samples,
        seed=config.align.seed,
    )
    if not found.detector:
        fitted = "; ".join(f"{k} until {format_time(_fitted_until(scorer, k))}" for k in scorer.kinds)
        raise BadInput(
            f"the feedback speaks about no scored time that the release was not fitted on ({fitted}); check entity ids, "
            "kinds and times of both files"
        )
    return found


def _fitted_until(scorer: Scorer, kind: str) -> datetime:
    return scorer.manifest.ranges[kind].calibrate.end


def _score_traces(scorer: Scorer, scores: pa.Table, feedback: pa.Table) -> Iterator[tuple[Trace, float]]:
    for kind in scorer.kinds:
        step = scorer.manifest.kinds[kind].step_seconds
        statements = Statements(feedback, kind)
        mine = scores.filter(pc.equal(scores["kind"], kind))
        aligned = scorer.aligner.rows(kind, {DEFAULT_ENTITY, *pc.unique(mine["entity_id"]).to_pylist()})
        columns = (aligned[name].to_pylist() for name in ("entity_id", "tail_probability"))
        tails: dict[str, float] = dict(zip(*columns, strict=True))
        for begin, end in by_entity(mine["entity_id"]) if mine.num_rows else ():
            rows = mine.slice(begin, end - begin)
            entity_id = rows["entity_id"][0].as_py()
            at = rows["timestamp"].to_numpy().astype("datetime64[us]")
            width = np.timedelta64(step * 1_000_000, "us")
            position = ((at - at[0]) // width).astype(np.int64)
            times = at[0] + np.arange(position[-1] + 1) * width
            dense = np.full((2, len(times)), np.nan, dtype=np.float32)
            dense[:, position] = [rows[name].to_numpy(zero_copy_only=False) for name in ("score", "margin")]
            if len(times) < 2:
                continue
            labels, _ = statements.in_range(entity_id, times, 0, len(times))
            labels[times < as_datetime64(_fitted_until(scorer, kind))] = UNLABELLED
            tail: float = tails.get(entity_id, tails[DEFAULT_ENTITY])
            yield Trace(kind, entity_id, times, dense[0], dense[1], labels, step), tail
