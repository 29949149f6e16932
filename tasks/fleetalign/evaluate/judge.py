"""Figures of quality that cannot be had without their controls (contracts 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fleetalign.contracts.feedback import UNLABELLED
from fleetalign.evaluate.bootstrap import Estimate, estimate, resample, rounded
from fleetalign.evaluate.controls import random_alarms, shift_offsets, shifted
from fleetalign.evaluate.counts import EntityCounts, count, mean

DAY_SECONDS = 86_400.0
CONTROLS = ("random", "shifted")

Protocol = Literal["judge_range", "leave_one_incident_out"]


@dataclass(frozen=True, slots=True)
class JudgedEntity:
    """One entity's alarms beside what operators said, on its grid of ``step_seconds``.

    ``alarms``, ``scored``, ``judged`` bool [t]; ``labels`` int8 [t]; ``tail_probability`` is the aligner row's.
    """

    kind: str
    entity_id: str
    alarms: np.ndarray
    scored: np.ndarray
    labels: np.ndarray
    judged: np.ndarray
    tail_probability: float
    step_seconds: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of the detector and of both controls."""

    name: str
    unit: str
    detector: Estimate
    random: Estimate
    shifted: Estimate

    def as_json(self) -> dict[str, Any]:
        sides = {side: getattr(self, side).as_json() for side in ("detector", *CONTROLS)}
        return {"name": self.name, "unit": self.unit, **sides}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Figure:
        sides = {side: Estimate(**document[side]) for side in ("detector", *CONTROLS)}
        return cls(document["name"], document["unit"], **sides)


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts per entity of the detector and of both controls, in one order of entities, and what follows from them."""

    protocol: Protocol
    detector: tuple[EntityCounts, ...]
    random: tuple[EntityCounts, ...]
    shifted: tuple[EntityCounts, ...]
    samples: int
    seed: int

    @classmethod
    def from_counts(
        cls,
        detector: Iterable[EntityCounts],
        random: Iterable[EntityCounts],
        shifted: Iterable[EntityCounts],
        *,
        samples: int,
        seed: int,
        protocol: Protocol,
    ) -> Figures:
        """Figures of counts made elsewhere, such as leave-one-incident-out. Entities without judged time drop out.

        Raises ValueError when the three do not describe the same entities: then there is nothing to compare.
        """
        rows = list(zip(detector, random, shifted, strict=True))
        for mine, first, second in rows:
            if not (mine.kind, mine.entity_id) == (first.kind, first.entity_id) == (second.kind, second.entity_id):
                raise ValueError(f"counts of {mine.kind}/{mine.entity_id} have controls of another entity")
        rows = sorted((r for r in rows if r[0].judged_seconds > 0), key=lambda r: (r[0].kind, r[0].entity_id))
        sides = tuple(zip(*rows, strict=True)) or ((), (), ())
        return cls(protocol, *sides, samples=samples, seed=seed)

    @property
    def incidents(self) -> float:
        return sum(counts.incidents for counts in self.detector)

    @property
    def judged_days(self) -> float:
        return sum(counts.judged_seconds for counts in self.detector) / DAY_SECONDS

    @property
    def per_entity(self) -> dict[tuple[str, str], EntityCounts]:
        return {(counts.kind, counts.entity_id): counts for counts in self.detector}

    def table(self) -> list[Figure]:
        """Every measure that the counts allow, event F1 first (He et al., TOSEM 2025; method G.2)."""
        draws = resample(len(self.detector), self.samples, self.seed)
        found = []
        for name, unit, measure in MEASURES:
            sides = [
                estimate(measure(side, draws), len(side)) for side in (self.detector, self.random, self.shifted)
            ]
            if sides[0].value is not None:
                found.append(Figure(name, unit, *sides))
        return found

    def difference(self, control: Literal["random", "shifted"]) -> Estimate:
        """Pooled event F1 of the detector minus the control's, with its paired interval."""
        return difference(self.detector, getattr(self, control), samples=self.samples, seed=self.seed)

    def as_json(self) -> dict[str, Any]:
        """``evaluation`` of the manifest."""
        return {
            "protocol": self.protocol,
            "entities": len(self.detector),
            "incidents": rounded(self.incidents),
            "judged_days": rounded(self.judged_days),
            "figures": [figure.as_json() for figure in self.table()],
        }


def judge(
    entities: Iterable[JudgedEntity],
    *,
    merge_steps: int,
    samples: int,
    seed: int,
    control_seeds: int = 20,
    protocol: Protocol = "judge_range",
) -> Figures:
    """Judge alarms where ``judged`` and labelled, beside ``control_seeds`` seeds of each control.

    Entities may come from a generator: only their counts are kept.
    """
    detector, random, moved = [], [], []
    for entity in entities:
        if not (entity.judged & (entity.labels != UNLABELLED)).any():
            continue

        def counted(alarms: np.ndarray, entity: JudgedEntity = entity) -> EntityCounts:
            return count(
                entity.kind,
                entity.entity_id,
                alarms,
                entity.labels,
                entity.judged,
                entity.step_seconds,
                merge_steps,
            )

        key = (entity.kind, entity.entity_id)
        offsets = shift_offsets(*key, control_seeds, len(entity.alarms))
        detector.append(counted(entity.alarms))
        random.append(
            mean([
                counted(random_alarms(*key, seed + run, entity.scored, entity.tail_probability))
                for run in range(control_seeds)
            ])
        )
        moved.append(mean([counted(shifted(entity.alarms, offset)) for offset in offsets]))
    return Figures.from_counts(detector, random, moved, samples=samples, seed=seed, protocol=protocol)


def difference(
    left: Sequence[EntityCounts], right: Sequence[EntityCounts], *, samples: int, seed: int
) -> Estimate:
    """Pooled event F1 of ``left`` minus ``right``, counts of the same entities in the same order; paired interval."""
    draws = resample(len(left), samples, seed)
    return estimate(_event_f1(left, draws) - _event_f1(right, draws), len(left))


def _column(side: Sequence[EntityCounts], name: str) -> np.ndarray:
    return np.array([getattr(counts, name) for counts in side], dtype=np.float64)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)


def _f1(true: np.ndarray, false: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """F1 of counts, NaN where there was nothing to find: a figure about no incident says nothing."""
    return np.where(true + missed > 0, _ratio(2 * true, 2 * true + false + missed), np.nan)


def _event_f1(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    return _f1(*(draws @ _column(side, name) for name in ("hits", "false_pages", "missed")))


def _event_f1_mean(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    own = _f1(*(_column(side, name) for name in ("hits", "false_pages", "missed")))
    known = np.isfinite(own)
    return _ratio(draws[:, known] @ own[known], draws[:, known].sum(axis=1))


def _event_precision(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    hits, false = draws @ _column(side, "hits"), draws @ _column(side, "false_pages")
    return _ratio(hits, hits + false)


def _event_recall(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    hits, missed = draws @ _column(side, "hits"), draws @ _column(side, "missed")
    return _ratio(hits, hits + missed)


def _false_pages_per_entity_day(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    return _ratio(draws @ _column(side, "false_pages"), draws @ _column(side, "judged_seconds") / DAY_SECONDS)


def _median_delay(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
    """Weighted lower median of the delays of hit incidents."""
    delays = np.array([delay for counts in side for delay in counts.delays_seconds])
    owners = np.repeat(np.arange(len(side)), [len(counts.delays_seconds) for counts in side])
    if len(delays) == 0:
        return np.full(len(draws), np.nan)
    order = np.argsort(delays, kind="stable")
    found = np.empty(len(draws))
    for row, draw in enumerate(draws):
        weight = np.cumsum(draw[owners[order]])
        found[row] = delays[order][np.searchsorted(weight, weight[-1] / 2)] if weight[-1] > 0 else np.nan
    return found


def _points_f1(field: str) -> Callable[[Sequence[EntityCounts], np.ndarray], np.ndarray]:
    def measure(side: Sequence[EntityCounts], draws: np.ndarray) -> np.ndarray:
        points = [getattr(counts, field) for counts in side]
        if any(point is None for point in points):
            return np.full(len(draws), np.nan)
        return _f1(*(draws @ np.array([getattr(p, n) for p in points]) for n in ("true", "false", "missed")))

    return measure


def _total(field: str) -> Callable[[Sequence[EntityCounts], np.ndarray], np.ndarray]:
    return lambda side, draws: draws @ _column(side, field)


Measure = Callable[[Sequence[EntityCounts], np.ndarray], np.ndarray]
MEASURES: tuple[tuple[str, str, Measure], ...] = (
    ("event_f1", "", _event_f1),
    ("event_f1_mean_over_entities", "", _event_f1_mean),
    ("event_precision", "", _event_precision),
    ("event_recall", "", _event_recall),
    ("false_pages_per_entity_day", "1/d", _false_pages_per_entity_day),
    ("median_delay_seconds", "s", _median_delay),
    ("point_f1", "", _points_f1("points")),
    ("point_adjusted_f1", "", _points_f1("adjusted")),
    ("hits", "incidents", _total("hits")),
    ("missed", "incidents", _total("missed")),
    ("false_pages", "pages", _total("false_pages")),
)
