"""Scores a plan's telemetry with a release, exactly as a consumer would, to judge it.

Quality is judged on entities with feedback in the judge range; without a judge range on held-out incidents of the
calibrate range, whose counts the fleet step left in its receipt.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.feedback import UNLABELLED, Statements, in_force, unique
from fleetalign.contracts.tables import DEFAULT_ENTITY
from fleetalign.errors import BadInput
from fleetalign.evaluate.figures import SIDES, Figures
from fleetalign.evaluate.judge import JudgedEntity, judge
from fleetalign.evaluate.outcomes import EntityCounts
from fleetalign.interval import Interval, format_time, parse_time
from fleetalign.plan.document import entities, partitions_of, range_of, read_statements
from fleetalign.scoring.score_table import by_entity
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.lake import Partition
from fleetalign.storage.panel import Panel, as_datetime64, read_panel
from fleetalign.storage.store import Store

BATCH_ENTITIES = 64


@dataclass(frozen=True, slots=True)
class Trace:
    """One entity over a range: ``score``, ``margin`` float32 [t] (NaN: nothing to say), ``labels`` int8 [t],
    ``times`` datetime64[us] [t]."""

    kind: str
    entity_id: str
    times: np.ndarray
    score: np.ndarray
    margin: np.ndarray
    labels: np.ndarray
    step_seconds: int


def spoken_entities(store: Store, plan: Mapping[str, Any], name: str) -> dict[str, list[str]]:
    """Entities per kind with feedback in the range ``name`` of the plan (``judge`` or ``calibrate``)."""
    feedback = in_force(read_statements(store, plan, "feedback"))
    found: dict[str, list[str]] = {}
    for kind in sorted(plan["kinds"]):
        span = range_of(plan, kind, name)
        if span is None:
            continue
        mine = feedback.filter(pc.equal(feedback["kind"], kind))
        inside = pc.and_(pc.less(mine["start"], _time(span.end)), pc.greater(mine["end"], _time(span.start)))
        named = pc.unique(mine.filter(inside)["entity_id"])
        known = entities(store, plan, (pc.field("kind") == kind) & pc.field("entity_id").isin(named))
        found[kind] = known["entity_id"].to_pylist()
    return found


def _time(value) -> pa.Scalar:
    return pa.scalar(value, pa.timestamp("us", tz="UTC"))


def sample(entities: Mapping[str, Sequence[str]], limit: int, seed: int) -> dict[str, list[str]]:
    """At most ``limit`` entities in all, a seeded choice."""
    keys = [(kind, e) for kind in sorted(entities) for e in entities[kind]]
    if len(keys) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(keys), limit, replace=False))
        keys = [keys[i] for i in chosen]
    return {kind: [e for k, e in keys if k == kind] for kind in entities}


def traces(
    store: Store,
    plan: Mapping[str, Any],
    scorer: Scorer,
    entities: Mapping[str, Sequence[str]],
    name: str,
    config: Config,
) -> Iterator[Trace]:
    """Score ``entities`` over the range ``name``; what windows and states reach before it is read as context."""
    feedback = read_statements(store, plan, "feedback")
    for kind, ids in sorted(entities.items()):
        said = Statements(feedback, kind)
        span = range_of(plan, kind, name)
        if span is None or kind not in scorer.kinds:
            continue
        yield from scored_panels(store, partitions_of(plan, kind), scorer, kind, ids, span, config, said)


def scored_panels(
    store: Store,
    partitions: Sequence[Partition],
    scorer: Scorer,
    kind: str,
    ids: Sequence[str],
    span: Interval,
    config: Config,
    said: Statements | None = None,
) -> Iterator[Trace]:
    """Traces of the entities ``ids`` of ``kind`` over ``span``; without ``said`` nothing is labelled. See ``panels``."""
    for panel in panels(store, partitions, scorer, kind, ids, span, config):
        yield from _panel_traces(scorer, panel, span, said)


def panels(
    store: Store,
    partitions: Sequence[Partition],
    scorer: Scorer,
    kind: str,
    ids: Sequence[str],
    span: Interval,
    config: Config,
) -> Iterator[Panel]:
    """Telemetry of the entities ``ids`` (sorted) of ``kind`` over ``span``, ``BATCH_ENTITIES`` of them at a time.

    Each panel begins as much before ``span`` as windows and states reach back.
    """
    step = scorer.manifest.kinds[kind]["step_seconds"]
    catalogue = scorer.manifest.kinds[kind]["metrics"]
    wide = Interval(span.start - timedelta(seconds=scorer.history_steps(kind) * step), span.end)
    for at in range(0, len(ids), BATCH_ENTITIES):
        yield read_panel(
            store, partitions, kind, ids[at : at + BATCH_ENTITIES], catalogue, wide, step,
            memory_mb=config.storage.memory_mb, scratch_dir=config.storage.scratch_dir or None,
        )  # fmt: skip


def _panel_traces(scorer: Scorer, panel: Panel, span: Interval, said: Statements | None) -> Iterator[Trace]:
    start, stop = panel.index_of(span.start), panel.values.shape[1]
    for i, entity_id in enumerate(panel.entity_ids):
        if panel.last[i] < start:
            continue
        score, margin = scorer.score_panel(panel.kind, panel, i, start, stop)
        labels = np.full(stop - start, UNLABELLED, dtype=np.int8)
        if said is not None:
            labels, _ = said.in_range(entity_id, panel.times, start, stop)
        yield Trace(panel.kind, entity_id, panel.times[start:stop], score, margin, labels, panel.step_seconds)


def judged(trace: Trace, tail_probability: float, untrained: Trace | None = None) -> JudgedEntity:
    """The trace as the judge takes it; unlabelled time is left out there."""
    return JudgedEntity(
        trace.kind,
        trace.entity_id,
        alarms=trace.margin > 0,
        scored=np.isfinite(trace.margin),
        labels=trace.labels,
        judged=np.ones(len(trace.labels), dtype=bool),
        tail_probability=tail_probability,
        step_seconds=trace.step_seconds,
        untrained=None if untrained is None else untrained.margin > 0,
    )


def figures(
    store: Store,
    plan: Mapping[str, Any],
    scorer: Scorer,
    aligned: Mapping[str, Any],
    config: Config,
    control: Scorer | None = None,
) -> Figures | None:
    """Figures of the release that ``plan`` builds; None when nobody said anything to judge by.

    ``aligned`` is the receipt of the fleet step, ``control`` a scorer of the untrained network's graph and aligner.
    """
    settings = {"samples": config.gates.bootstrap_samples, "seed": config.align.seed}
    if any(entry["ranges"]["judge"] for entry in plan["kinds"].values()):
        tails = {(t["kind"], t["entity_id"]): t["tail_probability"] for t in aligned["random_tail_probabilities"]}
        tail = aligned["random_tail_probability"]
        if tail is None:
            tail = aligned["shared"]["tail_probability"]
        chosen = sample(spoken_entities(store, plan, "judge"), config.gates.max_judged_entities, config.align.seed)
        scored = traces(store, plan, scorer, chosen, "judge", config)
        beside = traces(store, plan, control, chosen, "judge", config) if control else itertools.repeat(None)
        found = judge(
            (judged(t, tails.get((t.kind, t.entity_id), tail), u) for t, u in zip(scored, beside, strict=False)),
            merge_steps=config.align.merge_steps,
            control_seeds=config.gates.shift_seeds,
            **settings,
        )
        return found if found.detector else None
    if not aligned["leave_one_out"]:
        return None
    sides = {side: [_held_out(entry, side, plan) for entry in aligned["leave_one_out"]] for side in SIDES}
    if not any(entry["untrained"] for entry in aligned["leave_one_out"]):
        del sides["untrained"]
    return Figures.from_counts(**sides, protocol="leave_one_incident_out", **settings)


def _held_out(entry: Mapping[str, Any], side: str, plan: Mapping[str, Any]) -> EntityCounts:
    # An untrained network that could say nothing about an entity missed all its incidents.
    missed = {"hits": 0.0, "missed": entry["detector"]["hits"] + entry["detector"]["missed"], "false_pages": 0.0}
    counts = entry[side] or missed
    seconds = entry["judged_steps"] * plan["kinds"][entry["kind"]]["step_seconds"]
    return EntityCounts(
        entry["kind"], entry["entity_id"], counts["hits"], counts["missed"], counts["false_pages"], float(seconds)
    )


def judge_scores(
    store: Store,
    scorer: Scorer,
    scores: pa.Table,
    feedback: pa.Table,
    config: Config,
    untrained: pa.Table | None = None,
) -> Figures:
    """Figures of a scores table against ``feedback``, wherever somebody spoke after the release's calibrate range.

    ``untrained`` holds the untrained control's scores of the same telemetry (None: that control is not shown).
    Nothing is judged on time that thresholds were fitted on (contracts 1.4). Raises BadInput when nothing is left.
    """
    feedback = unique(feedback)
    traced = _score_traces(store, scorer, scores, feedback)
    beside = itertools.repeat((None, None))
    if untrained is not None:
        beside = _score_traces(store, scorer, untrained, feedback)
    found = judge(
        (judged(t, tail, control) for (t, tail), (control, _) in zip(traced, beside, strict=False)),
        merge_steps=config.align.merge_steps,
        control_seeds=config.gates.shift_seeds,
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
    return parse_time(scorer.manifest.document["ranges"][kind]["calibrate"]["end"])


def _score_traces(store: Store, scorer: Scorer, scores: pa.Table, feedback: pa.Table) -> Iterator[tuple[Trace, float]]:
    for kind in scorer.kinds:
        step = scorer.manifest.kinds[kind]["step_seconds"]
        said = Statements(feedback, kind)
        mine = scores.filter(pc.equal(scores["kind"], kind))
        aligned = scorer.aligner.rows(kind, {DEFAULT_ENTITY, *pc.unique(mine["entity_id"]).to_pylist()})
        columns = (aligned[name].to_pylist() for name in ("entity_id", "tail_probability"))
        tails = dict(zip(*columns, strict=True))
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
            labels, _ = said.in_range(entity_id, times, 0, len(times))
            labels[times < as_datetime64(_fitted_until(scorer, kind))] = UNLABELLED
            tail = tails.get(entity_id, tails[DEFAULT_ENTITY])
            yield Trace(kind, entity_id, times, dense[0], dense[1], labels, step), tail
