"""Figures of quality that cannot be had without their controls (contracts 6.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fleetalign.contracts.manifest import rounded
from fleetalign.errors import FleetalignError
from fleetalign.evaluate.bootstrap import Estimate, estimate, resample
from fleetalign.evaluate.outcomes import EntityCounts
from fleetalign.evaluate.pooled import DAY_SECONDS, MEASURES, event_f1

SIDES = ("detector", "random", "shifted", "untrained")
Control = Literal["random", "shifted", "untrained"]
Protocol = Literal["judge_range", "leave_one_incident_out"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of the detector and of its controls; ``untrained`` is None where that network could not be run."""

    name: str
    unit: str
    detector: Estimate
    random: Estimate
    shifted: Estimate
    untrained: Estimate | None = None

    def as_json(self) -> dict[str, Any]:
        sides = {side: found and found.as_json() for side in SIDES for found in (getattr(self, side),)}
        return {"name": self.name, "unit": self.unit, **sides}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Figure:
        sides = {side: document.get(side) and Estimate(**document[side]) for side in SIDES}
        return cls(document["name"], document["unit"], **sides)


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts per entity of the detector and of its controls, in one order of entities, and what follows from them.

    ``untrained`` is empty where that network could not be run, such as when only scores are there.
    """

    protocol: Protocol
    detector: tuple[EntityCounts, ...]
    random: tuple[EntityCounts, ...]
    shifted: tuple[EntityCounts, ...]
    untrained: tuple[EntityCounts, ...]
    samples: int
    seed: int

    @classmethod
    def from_counts(
        cls,
        detector: Iterable[EntityCounts],
        random: Iterable[EntityCounts],
        shifted: Iterable[EntityCounts],
        untrained: Iterable[EntityCounts] = (),
        *,
        samples: int,
        seed: int,
        protocol: Protocol,
    ) -> Figures:
        """Figures of counts made elsewhere, such as leave-one-incident-out. Entities without judged time drop out.

        ``untrained`` may be empty. Raises FleetalignError when the sides do not describe the same entities: then there is
        nothing to compare.
        """
        given = [list(side) for side in (detector, random, shifted, untrained)]
        sides = [
            sorted(side, key=lambda counts: (counts.kind, counts.entity_id))
            for side in (given if given[3] else given[:3])
        ]
        if len({len(side) for side in sides}) > 1:
            raise FleetalignError(f"counts of {[len(side) for side in sides]} entities: a figure lacks its controls")
        rows = list(zip(*sides, strict=True))
        for mine, *controls in rows:
            if any((c.kind, c.entity_id) != (mine.kind, mine.entity_id) for c in controls):
                raise FleetalignError(f"counts of {mine.kind}/{mine.entity_id} have controls of another entity")
        judged = [row for row in rows if row[0].judged_seconds > 0]
        columns = [*(tuple(zip(*judged, strict=True)) or ((), (), ())), ()][:4]
        return cls(protocol, *columns, samples=samples, seed=seed)

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
            sides = {
                key: estimate(measure(side, draws), len(side))
                for key in SIDES
                for side in (getattr(self, key),)
                if side
            }
            if sides["detector"].value is not None:
                found.append(Figure(name, unit, **sides))
        return found

    def difference(self, control: Control) -> Estimate:
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
