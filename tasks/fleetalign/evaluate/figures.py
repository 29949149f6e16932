"""Figures of quality, each with its controls (contracts 6.2)."""

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
    """One measure of the detector and of its controls."""

    name: str
    unit: str
    detector: Estimate
    random: Estimate
    shifted: Estimate
    untrained: Estimate | None = None
    """None where the untrained network was not run."""

    def as_json(self) -> dict[str, Any]:
        """Return the figure as an entry of the manifest's ``figures``."""
        sides = {side: found and found.as_json() for side in SIDES for found in (getattr(self, side),)}
        return {"name": self.name, "unit": self.unit, **sides}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Figure:
        """Read an entry of the manifest's ``figures``."""
        detector, random, shifted = (Estimate(**document[side]) for side in ("detector", "random", "shifted"))
        untrained = Estimate(**document["untrained"]) if document.get("untrained") else None
        return cls(document["name"], document["unit"], detector, random, shifted, untrained)


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts per entity of the detector and its controls, in one order of entities."""

    protocol: Protocol
    detector: tuple[EntityCounts, ...]
    random: tuple[EntityCounts, ...]
    shifted: tuple[EntityCounts, ...]
    untrained: tuple[EntityCounts, ...]
    """Empty where the untrained network was not run."""
    samples: int
    """Bootstrap samples of the intervals."""
    seed: int
    """Seed of the bootstrap."""

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
        """Make figures from the counts of every side; entities without judged time drop out.

        ``untrained`` may be empty.

        Raises:
            FleetalignError: The sides do not describe the same entities.
        """
        sides = [
            sorted(side, key=lambda counts: (counts.kind, counts.entity_id))
            for side in (list(detector), list(random), list(shifted), list(untrained))
        ]
        if not sides[3]:
            sides.pop()
        if len({len(side) for side in sides}) > 1:
            raise FleetalignError(f"counts of {[len(side) for side in sides]} entities: a figure lacks its controls")
        by_entity = list(zip(*sides, strict=True))
        for mine, *controls in by_entity:
            if any((c.kind, c.entity_id) != (mine.kind, mine.entity_id) for c in controls):
                raise FleetalignError(f"counts of {mine.kind}/{mine.entity_id} have controls of another entity")
        judged = [counts for counts in by_entity if counts[0].judged_seconds > 0]
        columns = [tuple(counts[i] for counts in judged) for i in range(len(sides))]
        untrained_counts = columns[3] if len(columns) > 3 else ()
        return cls(protocol, columns[0], columns[1], columns[2], untrained_counts, samples, seed)

    @property
    def incidents(self) -> float:
        """Number of judged incidents."""
        return sum(counts.incidents for counts in self.detector)

    @property
    def judged_days(self) -> float:
        """Labelled entity-days."""
        return sum(counts.judged_seconds for counts in self.detector) / DAY_SECONDS

    @property
    def per_entity(self) -> dict[tuple[str, str], EntityCounts]:
        """The detector's counts by kind and entity."""
        return {(counts.kind, counts.entity_id): counts for counts in self.detector}

    def table(self) -> list[Figure]:
        """Compute every measure that the counts allow, event F1 first.

        Source: He et al., TOSEM 2025; method G.2.
        """
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
        """Compute the pooled event F1 of the detector minus the control's, with its paired interval."""
        return difference(self.detector, getattr(self, control), samples=self.samples, seed=self.seed)

    def as_json(self) -> dict[str, Any]:
        """Return the ``evaluation`` of the manifest."""
        return {
            "protocol": self.protocol,
            "entities": len(self.detector),
            "incidents": rounded(self.incidents),
            "judged_days": rounded(self.judged_days),
            "figures": [figure.as_json() for figure in self.table()],
        }


def difference(left: Sequence[EntityCounts], right: Sequence[EntityCounts], *, samples: int, seed: int) -> Estimate:
    """Compute the pooled event F1 of ``left`` minus ``right`` with its paired interval.

    Both are counts of the same entities in the same order.
    """
    draws = resample(len(left), samples, seed)
    return estimate(event_f1(left, draws) - event_f1(right, draws), len(left))
