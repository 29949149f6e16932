"""Reads days of one kind for the drift check: standardised telemetry, scores and pages.

Entities come in blocks; a few numbers of each are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fleetalign.config import Config
from fleetalign.contracts.feedback import UNLABELLED
from fleetalign.contracts.tables import DEFAULT_ENTITY
from fleetalign.interval import Interval
from fleetalign.plan.document import plan_config, read_plan
from fleetalign.progress import Progress
from fleetalign.release.backtest import sent
from fleetalign.release.replay import BATCH_ENTITIES, Trace, panels
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import layout
from fleetalign.storage.lake import Partition
from fleetalign.storage.panel import Panel
from fleetalign.storage.store import Store
from fleetalign.watch.measures import EntityDay, KindDay, entity_day


@dataclass
class Alarms:
    """The alarms of a release over a time range."""

    pages: dict[str, int] = field(default_factory=dict)
    """Pages of each ``kind/entity_id`` that has any."""
    entity_days: float = 0.0
    """Scored time."""
    scored: int = 0
    """Scored samples."""
    over: int = 0
    """Scored samples above their threshold."""
    expected: float = 0.0
    """Normal samples that the alignment expects above their threshold."""

    @property
    def per_entity_day(self) -> float | None:
        """Pages per entity and day; None without scored time."""
        return sum(self.pages.values()) / self.entity_days if self.entity_days else None

    def add(self, other: Alarms) -> None:
        """Add the alarms of other entities."""
        self.pages |= other.pages
        self.entity_days += other.entity_days
        self.scored += other.scored
        self.over += other.over
        self.expected += other.expected


class DayReader:
    """Reads days with the release of a scorer.

    ``plan`` is the plan that the release was built from.
    """

    def __init__(self, store: Store, config: Config, scorer: Scorer, progress: Progress | None = None) -> None:
        """Read the plan of the release of ``scorer``."""
        self.plan = read_plan(store, store.get_json(layout.release(scorer.release_id, "provenance.json"))["plan_id"])
        self._store, self._config, self._scorer, self._progress = store, config, scorer, progress
        self._clip = plan_config(self.plan).model.clip
        aligned = scorer.aligner.read(("kind", "entity_id", "tail_probability"))
        self._tails = {
            (kind, entity_id): tail for kind, entity_id, tail in zip(*aligned.to_pydict().values(), strict=True)
        }

    def aligned(self, kind: str) -> set[str]:
        """Return the entities that the release has a row of."""
        return {entity_id for of, entity_id in self._tails if of == kind} - {DEFAULT_ENTITY}

    def measurable(self, kind: str) -> set[str]:
        """Return the aligned entities with a location of their own.

        By the default's location, all would look shifted.
        """
        scorer = self._scorer.kind(kind)
        return {entity_id for entity_id in self.aligned(kind) if scorer and scorer.has_own_location(entity_id)}

    def read(
        self,
        kind: str,
        partitions: Sequence[Partition],
        ids: Sequence[str],
        days: Sequence[Interval],
        measured: Collection[str],
    ) -> tuple[list[KindDay], list[Alarms]]:
        """Read ``days`` (ascending) of the entities ``ids`` (sorted).

        Returns:
            The days of the entities in ``measured``, empty if there are none, and the alarms of all ``ids``.
        """
        scorer, counts = self._scorer.kind(kind), frozenset(measured)
        measured_days: list[list[EntityDay]] = [[] for _ in days]
        alarms = [Alarms() for _ in days]
        done = 0
        for panel in panels(
            self._store, partitions, self._scorer, kind, ids, Interval(days[0].start, days[-1].end), self._config
        ):
            for i, entity_id in enumerate(panel.entity_ids):
                for d, (values, trace) in enumerate(self._cut(panel, i, days)):
                    alarms[d].add(self._sent(trace))
                    if scorer is not None and entity_id in counts:
                        usual = scorer.location(entity_id), scorer.scale(entity_id)
                        measured_days[d].append(entity_day(values, *usual, self._clip, trace.score))
            done += len(panel.entity_ids)
            self._report_progress(kind, days, done, len(ids))
        return [KindDay.of(entities) for entities in measured_days if entities], alarms

    def _cut(self, panel: Panel, entity: int, days: Sequence[Interval]) -> Iterator[tuple[np.ndarray, Trace]]:
        """Yield the raw values float64 [t, metric] and the trace of one entity on each of ``days``."""
        kind, entity_id, step = panel.kind, panel.entity_ids[entity], panel.step_seconds
        first, last = panel.index_of(days[0].start), panel.index_of(days[-1].end)
        score, margin = self._scorer.score_panel(kind, panel, entity, first, last)
        for day in days:
            start, stop = panel.index_of(day.start), panel.index_of(day.end)
            at = slice(start - first, stop - first)
            labels = np.full(stop - start, UNLABELLED, dtype=np.int8)
            trace = Trace(kind, entity_id, panel.times[start:stop], score[at], margin[at], labels, step)
            yield np.asarray(panel.values[entity, start:stop]), trace

    def _sent(self, trace: Trace) -> Alarms:
        """Count the alarms of a trace as the gate on pages counts them."""
        counted = sent(trace.entity_id, [trace], self._config.align.merge_steps)
        pages = {f"{trace.kind}/{trace.entity_id}": counted.count} if counted.count else {}
        tail = self._tails.get((trace.kind, trace.entity_id), self._tails[trace.kind, DEFAULT_ENTITY])
        scored = int(np.isfinite(trace.margin).sum())
        return Alarms(pages, counted.entity_days, scored, int((trace.margin > 0).sum()), scored * tail)

    def _report_progress(self, kind: str, days: Sequence[Interval], done: int, among: int) -> None:
        if self._progress is not None:
            what = f"{kind} {days[0].start.date()}" + (f" +{len(days) - 1}" if days[1:] else "")
            self._progress(-(-done // BATCH_ENTITIES), -(-among // BATCH_ENTITIES), what)
