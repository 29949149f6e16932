"""The simulated entities: kinds, groups of replicas, missing metrics, late arrivals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from fleetalign.simulate.random import Stream, generator


@dataclass(frozen=True, slots=True)
class SimulatedKind:
    """One kind of simulated entity."""

    name: str
    step_seconds: int
    metrics: tuple[str, ...]
    """The kind's catalogue, sorted; an entity may miss some of them."""
    upper_limits: tuple[float, ...]
    """Largest possible value per metric; the smallest is 0."""
    optional_metrics: tuple[str, ...]
    """Metrics that some groups do not export."""
    group_names: tuple[str, ...]


SERVICE = SimulatedKind(
    name="service",
    step_seconds=300,
    metrics=(
        "cpu_percent",
        "error_rate",
        "latency_ms",
        "memory_mb",
        "network_kb_per_s",
        "open_connections",
        "queue_length",
        "requests_per_s",
    ),
    upper_limits=(100.0, 1.0, np.inf, np.inf, np.inf, np.inf, np.inf, np.inf),
    optional_metrics=("network_kb_per_s", "queue_length"),
    group_names=("checkout", "catalog", "search", "payments", "accounts", "shipping", "media", "gateway"),
)
DATABASE = SimulatedKind(
    name="database",
    step_seconds=600,
    metrics=(
        "cache_hit_ratio",
        "connections",
        "cpu_percent",
        "disk_io_mb_per_s",
        "queries_per_s",
        "replication_lag_s",
    ),
    upper_limits=(1.0, np.inf, 100.0, np.inf, np.inf, np.inf),
    optional_metrics=("replication_lag_s",),
    group_names=("orders-db", "users-db", "stock-db", "ledger-db"),
)
KINDS = (DATABASE, SERVICE)
SERVICE_SHARE = 2 / 3
GROUP_SIZES = (3, 2, 4, 2)
NO_EXPORT_SHARE = 0.3
"""Share of groups that do not export one of the optional metrics."""
SMALLEST_FLEET_WITH_ARRIVALS = 6


@dataclass(frozen=True, slots=True)
class SimulatedEntity:
    """One simulated entity."""

    kind: SimulatedKind
    entity_id: str
    index: int
    """Number of the entity inside the kind."""
    group: int
    """Number of its group of replicas inside the kind."""
    born: datetime
    absent_metrics: frozenset[str]

    @property
    def present_metrics(self) -> tuple[str, ...]:
        return tuple(m for m in self.kind.metrics if m not in self.absent_metrics)


def build_fleet(seed: int, start: datetime, days: int, entities: int) -> tuple[SimulatedEntity, ...]:
    """Build ``entities`` entities, two thirds of them services, in (kind, index) order.

    In a fleet of six or more, the last two services arrive late: one with a few days of history at the end (more
    than 200 samples of 300 s), one with 12 hours (fewer than 200).
    """
    services = max(1, round(entities * SERVICE_SHARE))
    end = start + timedelta(days=days)
    fleet = _members(seed, DATABASE, entities - services, start) + _members(seed, SERVICE, services, start)
    if entities < SMALLEST_FLEET_WITH_ARRIVALS:
        return tuple(fleet)
    late = max(timedelta(hours=20), min(timedelta(hours=60), timedelta(days=0.36 * days)))
    return (*fleet[:-2], _arriving(fleet[-2], end - late), _arriving(fleet[-1], end - timedelta(hours=12)))


def _members(seed: int, kind: SimulatedKind, count: int, start: datetime) -> list[SimulatedEntity]:
    members: list[SimulatedEntity] = []
    group = 0
    while len(members) < count:
        name = kind.group_names[group % len(kind.group_names)]
        if group >= len(kind.group_names):
            name = f"{name}{group // len(kind.group_names) + 1}"
        rng = generator(seed, Stream.GROUP_EXPORT, KINDS.index(kind), group)
        absent = frozenset({str(rng.choice(kind.optional_metrics))} if rng.random() < NO_EXPORT_SHARE else ())
        size = min(GROUP_SIZES[group % len(GROUP_SIZES)], count - len(members))
        for replica in range(size):
            members.append(SimulatedEntity(kind, f"{name}-{replica}", len(members), group, start, absent))
        group += 1
    return members


def _arriving(entity: SimulatedEntity, born: datetime) -> SimulatedEntity:
    return SimulatedEntity(entity.kind, entity.entity_id, entity.index, entity.group, born, entity.absent_metrics)
