"""The plan of a build: everything it depends on, as typed values (contracts 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from fleetalign.contracts.document import Document
from fleetalign.interval import Interval

PLAN_VERSION = "2.0"
RangeName = Literal["train", "calibrate", "judge"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranges(Document):
    """The time of one kind, cut into parts that do not overlap (contracts 1.4)."""

    train: Interval
    """What the network and the normalizer are fitted on."""
    calibrate: Interval
    """What thresholds are fitted on."""
    judge: Interval | None = None
    """What the release is judged on; None: it is judged on held-out incidents of ``calibrate``."""

    def named(self, name: RangeName) -> Interval | None:
        """Return one of the ranges by its name."""
        return {"train": self.train, "calibrate": self.calibrate, "judge": self.judge}[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class KindPlan(Document):
    """What is built for one kind."""

    step_seconds: int
    metrics: tuple[str, ...]
    """The metric catalogue, in the order of the graph's axis."""
    ranges: Ranges
    model_id: str | None = None
    """The model that is kept; None: a new one is trained."""
    entities: int
    """How many entities the telemetry holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionFile(Document):
    """One part of a partition, sorted by entity."""

    name: str
    bytes: int
    sha256: str
    rows: int
    first_entity: str | None
    """None: the part is empty."""
    last_entity: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionEntry(Document):
    """A partition of the plan.

    It suffices to read exactly these bytes, even after the partition was rewritten.
    """

    prefix: str
    """What the keys of its files begin with."""
    sha256: str
    """That of its ``_partition.json``."""
    kind: str
    start: datetime
    end: datetime
    step_seconds: int
    metrics: tuple[str, ...]
    rows: int
    files: tuple[PartitionFile, ...]
    phases: PartitionFile | None = None
    """The phases of its entities; None: every row lies on the grid."""

    def as_document(self) -> dict[str, Any]:
        """Return the JSON object; a partition without phases has no such field."""
        document = Document.as_document(self)
        if self.phases is None:
            del document["phases"]
        return document


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenTable(Document):
    """A table as the plan saw it, stored by its content at ``layout.plan_input``."""

    sha256: str
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenStatements(FrozenTable):
    """Feedback or mutes as the plan saw them."""

    as_of: datetime | None = None
    """When the newest feedback was recorded; None without any, and for mutes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReusedModel(Document):
    """The pre-training whose model is kept."""

    plan_id: str
    normalizer_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard(Document):
    """The entities of one kind from ``first`` to ``last``, both included, by code point."""

    index: int
    kind: str
    first: str
    last: str
    entities: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan(Document):
    """What a build is made of: the same inputs give the same plan on any store."""

    schema_version: str = PLAN_VERSION
    config: Mapping[str, Any]
    """The build settings as JSON; ``plan.document.plan_config`` reads them."""
    kinds: Mapping[str, KindPlan]
    entity_ids: FrozenTable
    """Every entity of the telemetry."""
    partitions: tuple[PartitionEntry, ...]
    feedback: FrozenStatements
    mutes: FrozenStatements
    previous_aligner: str | None = None
    """The aligner whose thresholds this build goes on from."""
    previous_candidate: Any = None
    """The candidate that the fleet shared in that aligner."""
    previous_said: Mapping[str, str] | None = None
    """sha256 of the ``feedback`` and of the ``mutes`` that held when that aligner was made."""
    reuse: ReusedModel | None = None
    """The model that is aligned anew; None: this plan trains one."""
    shards: tuple[Shard, ...]
    phases: FrozenTable | None = None
    """The phases of the entities that have one; None: all report on the grid."""
    seeds: Mapping[str, int]

    def as_document(self) -> dict[str, Any]:
        """Return the JSON object, without ``phases`` where all entities report on the grid."""
        document = Document.as_document(self)
        if self.phases is None:
            del document["phases"]
        return document
