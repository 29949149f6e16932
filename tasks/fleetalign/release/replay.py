"""Scores stored telemetry with a release, exactly as a consumer would."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from fleetalign.config import Config
from fleetalign.contracts.arrays import Floats32
from fleetalign.contracts.feedback import UNLABELLED, Statements
from fleetalign.contracts.plan import Plan, RangeName
from fleetalign.errors import BadInput
from fleetalign.interval import Interval, format_time
from fleetalign.plan.document import partitions_of, read_statements
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import lake
from fleetalign.storage.panel import Panel, read_panel
from fleetalign.storage.store import Store

BATCH_ENTITIES = 64


@dataclass(frozen=True, slots=True)
class Trace:
    """One entity over a range of t samples."""

    kind: str
    entity_id: str
    times: npt.NDArray[np.datetime64]
    """datetime64[us] [t]."""
    score: Floats32
    """[t]; NaN without a score."""
    margin: Floats32
    """[t]; an alarm where above 0."""
    labels: npt.NDArray[np.int8]
    """[t], as in ``contracts.feedback``."""
    step_seconds: int

    @property
    def key(self) -> tuple[str, str]:
        """Kind and entity."""
        return self.kind, self.entity_id


def sample(entities: Mapping[str, Sequence[str]], limit: int, seed: int) -> dict[str, list[str]]:
    """Choose at most ``limit`` entities in all, by a seeded draw."""
    keys = [(kind, e) for kind in sorted(entities) for e in entities[kind]]
    if len(keys) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(keys), limit, replace=False))
        keys = [keys[i] for i in chosen]
    return {kind: [e for k, e in keys if k == kind] for kind in entities}


def traces(
    store: Store,
    plan: Plan,
    scorer: Scorer,
    entities: Mapping[str, Sequence[str]],
    name: RangeName,
    config: Config,
) -> Iterator[Trace]:
    """Score ``entities`` over the range ``name`` of the plan; earlier telemetry is context."""
    feedback = read_statements(store, plan, "feedback")
    for kind, ids in sorted(entities.items()):
        statements = Statements(feedback, kind)
        span = plan.kinds[kind].ranges.named(name)
        if span is None or kind not in scorer.kinds:
            continue
        yield from scored_panels(store, partitions_of(plan, kind), scorer, kind, ids, span, config, statements)


def scored_panels(
    store: Store,
    partitions: Sequence[lake.Partition],
    scorer: Scorer,
    kind: str,
    ids: Sequence[str],
    span: Interval,
    config: Config,
    statements: Statements | None = None,
) -> Iterator[Trace]:
    """Score the entities ``ids`` over ``span``; without ``statements`` nothing is labelled."""
    for panel in panels(store, partitions, scorer, kind, ids, span, config):
        yield from _panel_traces(scorer, panel, span, statements)


def panels(
    store: Store,
    partitions: Sequence[lake.Partition],
    scorer: Scorer,
    kind: str,
    ids: Sequence[str],
    span: Interval,
    config: Config,
) -> Iterator[Panel]:
    """Read the telemetry of ``ids`` (sorted) over ``span``, ``BATCH_ENTITIES`` at a time.

    Each panel begins as much before ``span`` as windows and states reach back.
    """
    step = scorer.manifest.kinds[kind].step_seconds
    metrics = scorer.manifest.kinds[kind].metrics
    wide = Interval(span.start - timedelta(seconds=scorer.history_steps(kind) * step), span.end)
    for at in range(0, len(ids), BATCH_ENTITIES):
        yield read_panel(
            store, partitions, kind, ids[at : at + BATCH_ENTITIES], metrics, wide, step,
            memory_mb=config.storage.memory_mb, scratch_dir=config.storage.scratch_dir or None,
        )  # fmt: skip


def _panel_traces(scorer: Scorer, panel: Panel, span: Interval, statements: Statements | None) -> Iterator[Trace]:
    start, stop = panel.index_of(span.start), panel.values.shape[1]
    for i, entity_id in enumerate(panel.entity_ids):
        if panel.last[i] < start:
            continue
        score, margin = scorer.score_panel(panel.kind, panel, i, start, stop)
        labels = np.full(stop - start, UNLABELLED, dtype=np.int8)
        if statements is not None:
            labels, _ = statements.in_range(entity_id, panel.times, start, stop)
        yield Trace(panel.kind, entity_id, panel.times[start:stop], score, margin, labels, panel.step_seconds)


def stored_traces(
    store: Store, scorer: Scorer, span: Interval, config: Config, chosen: Collection[tuple[str, str]] | None = None
) -> Iterator[Trace]:
    """Score every entity over the validated telemetry of ``span``, as a consumer would.

    ``chosen``, (kind, entity_id), leaves out all others. Raises BadInput when there is none of any kind the release knows, or when it was stored with another step.
    """
    found = False
    for kind in scorer.kinds:
        partitions = stored_partitions(store, scorer, kind, span)
        ids = lake.entity_ids(store, [p for p in partitions if p.interval.overlaps(span)], kind).to_pylist()
        if chosen is not None:
            ids = [entity_id for entity_id in ids if (kind, entity_id) in chosen]
        found = found or bool(ids)
        yield from scored_panels(store, partitions, scorer, kind, ids, span, config)
    if not found:
        raise BadInput(
            f"{store.uri}: no validated telemetry of {'these entities' if chosen is not None else ', '.join(scorer.kinds)} from {format_time(span.start)} to "
            f"{format_time(span.end)}; run ingest and validate, or choose another range"
        )


def stored_partitions(store: Store, scorer: Scorer, kind: str, span: Interval) -> list[lake.Partition]:
    """List the validated partitions of ``span`` and of what its first windows reach back to.

    Raises BadInput for one that was stored with another step than the release knows.
    """
    step = scorer.manifest.kinds[kind].step_seconds
    wide = Interval(span.start - timedelta(seconds=scorer.history_steps(kind) * step), span.end)
    partitions = lake.list_partitions(store, "validated", kind, within=wide)
    for partition in partitions:
        if partition.step_seconds != step:
            raise BadInput(
                f"{store.uri}/{partition.prefix}: its step is {partition.step_seconds} s, release "
                f"{scorer.release_id} knows {kind} at {step} s; choose a range of one step"
            )
    return partitions
