"""Figures of quality that cannot be had without their controls (contracts 6.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fleetalign.errors import FleetalignError
from fleetalign.evaluate.bootstrap import Estimate, estimate, resample, rounded
from fleetalign.evaluate.counts import EntityCounts
from fleetalign.evaluate.measures import DAY_SECONDS, MEASURES, event_f1

SIDES = ("detector", "random", "shifted")
Protocol = Literal["judge_range", "leave_one_incident_out"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of the detector and of both controls."""

    name: str
    unit: str
    detector: Estimate
    random: Estimate
    shifted: Estimate

    def as_json(self) -> dict[str, Any]:
        sides = {side: getattr(self, side).as_json() for side in SIDES}
        return {"name": self.name, "unit": self.unit, **sides}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Figure:
        sides = {side: Estimate(**document[side]) for side in SIDES}
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

        Raises FleetalignError when the three do not describe the same entities: then there is nothing to compare.
        """
        sides = [
            sorted(side, key=lambda counts: (counts.kind, counts.entity_id)) for side in (detector, random, shifted)
        ]
        if len({len(side) for side in sides}) > 1:
            raise FleetalignError(f"counts of {[len(side) for side in sides]} entities: a figure lacks its controls")
        rows = list(zip(*sides, strict=True))
        for mine, first, second in rows:
            if not (mine.kind, mine.entity_id) == (first.kind, first.entity_id) == (second.kind, second.entity_id):
                raise FleetalignError(f"counts of {mine.kind}/{mine.entity_id} have controls of another entity")
        judged = [row for row in rows if row[0].judged_seconds > 0]
        return cls(protocol, *(tuple(zip(*judged, strict=True)) or ((), (), ())), samples=samples, seed=seed)

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
        found: list[Figure] = []
        if not self.detector:
            return found
        draws = resample(len(self.detector), self.samples, self.seed)
        for name, unit, measure in MEASURES:
            sides = [estimate(measure(side, draws), len(side)) for side in (self.detector, self.random, self.shifted)]
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


def difference(left: Sequence[EntityCounts], right: Sequence[EntityCounts], *, samples: int, seed: int) -> Estimate:
    """Pooled event F1 of ``left`` minus ``right``, counts of the same entities in the same order; paired interval."""
    draws = resample(len(left), samples, seed)
    return estimate(event_f1(left, draws) - event_f1(right, draws), len(left))
