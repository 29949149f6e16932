"""Receipts: what the steps of a plan produced.

They are typed values of the JSON that is stored with the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetalign.contracts.document import Document
from fleetalign.contracts.manifest import Coverage, Gate, Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotReceipt(Document):
    """Where the plan's telemetry is kept; both None: the data registry is off."""

    revision: str | None = None
    """Commit of the data registry."""
    remote: str | None = None
    """URL of the DVC remote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainReceipt(Document):
    """What the pre-training of a plan produced."""

    plan_id: str
    models: Mapping[str, str]
    """Kind to model id."""
    normalizer_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardReceipt(Document):
    """One aligned shard: what its task returns."""

    index: int
    label: str
    """What the shard holds, in a few words."""
    sha256: str
    """That of the shard's table."""
    entities: int
    left_out: int
    """Entities of them that got no tables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedPoint(Document):
    """The grid point that the fleet shares."""

    candidate: Any
    """A condition C, or the values of the detector's fleet-wide settings."""
    condition: int
    """C in steps; 0 where the margin uses none."""
    tail_probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorWeight(Document):
    """One weight of the prior that was tried, and the objective on held-out incidents under it."""

    k: float
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PagedEntity(Document):
    """An entity that pages much."""

    kind: str
    entity_id: str
    pages: float
    """In the calibrate range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EntityTail(Document):
    """The tail probability of one entity."""

    kind: str
    entity_id: str
    tail_probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EventCounts(Document):
    """Incidents that were hit and missed, and pages that touched none."""

    hits: float
    missed: float
    false_pages: float


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutCounts(Document):
    """Incidents of one entity, judged by thresholds that were chosen without them."""

    kind: str
    entity_id: str
    judged_steps: int
    """Labelled samples."""
    detector: EventCounts
    random: EventCounts
    """A random score through the same choice."""
    shifted: EventCounts
    """The detector's alarms, shifted in time."""
    untrained: EventCounts | None = None
    """The untrained network through the same alignment; None: it could not score the entity, or was not run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignReceipt(Document):
    """What the fleet step produced: two artifacts, what the fleet shares, and counts."""

    plan_id: str
    aligner_id: str
    normalizer_id: str
    shared: SharedPoint
    prior_weight: float | None
    """How many average entities the fleet counts for; None without any incident."""
    prior_weight_values: tuple[PriorWeight, ...]
    coverage: Coverage
    pages_per_entity_day: float
    """In the calibrate range."""
    most_paged: tuple[PagedEntity, ...] = ()
    random_tail_probability: float | None
    """That of the random control for entities without feedback; None: the detector's own holds."""
    random_tail_probabilities: tuple[EntityTail, ...]
    """Those of the random control for entities with feedback."""
    leave_one_out: tuple[HeldOutCounts, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseReceipt(Document):
    """The release that was made of a plan."""

    plan_id: str
    release_id: str
    aligner_id: str
    data_version: str
    gates: tuple[Gate, ...]
    coverage: Coverage
    evaluation: Mapping[str, Any] | None
    """As in the manifest."""

    @classmethod
    def of(cls, plan_id: str, manifest: Manifest) -> ReleaseReceipt:
        """Return the receipt of the release that ``manifest`` describes."""
        return cls(
            plan_id=plan_id,
            release_id=manifest.release_id,
            aligner_id=manifest.aligner_id,
            data_version=manifest.data_version,
            gates=manifest.gates,
            coverage=manifest.coverage,
            evaluation=manifest.evaluation,
        )
