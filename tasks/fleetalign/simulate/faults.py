"""Six kinds of fault: when they strike which entity, and how they change healthy values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.contracts.slots import Times
from fleetalign.interval import DAY_SECONDS
from fleetalign.simulate.fleet import SimulatedEntity
from fleetalign.simulate.random import Stream, generator

CALM_INCIDENTS_PER_ENTITY_DAY = 0.07
BUSY_INCIDENTS_PER_ENTITY_DAY = 0.42
"""In the on-call part: higher than in life, so that a week of 24 entities has about 20 incidents to align to."""
MARGIN = timedelta(hours=4)
"""Least distance between two incidents of one entity, and from its arrival."""
TAIL = timedelta(hours=1)
"""No incident ends later than this before the end, so that an operator can still report it."""
SUBTLE, CLEAR = 1.2, 7.0
"""Range of a fault's size, in spreads (standard deviations over one healthy day of the same entity and metric)."""
PLACEMENT_ATTEMPTS = 200


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault."""

    name: str
    minutes: tuple[int, int]
    """Shortest and longest."""
    metrics: tuple[str, ...]
    """The metrics it may touch."""
    effect: Callable[[Floats, _Context], Floats]
    """Maps healthy values to faulty ones."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One incident: half-open ``[start, end)``, on the entity's sampling grid."""

    number: int
    entity: SimulatedEntity
    kind: FaultKind
    start: datetime
    end: datetime
    metrics: tuple[str, ...]
    size: float
    """In spreads."""


@dataclass(frozen=True, slots=True)
class _Context:
    """What the effect of a fault on one metric depends on."""

    progress: Floats
    """float64 [step], from 0 at the fault's start to 1 at its end."""
    size: float
    level: float
    spread: float
    sign: float
    rng: np.random.Generator


def _spike(healthy: Floats, c: _Context) -> Floats:
    values: Floats = healthy + 1.5 * c.size * c.spread * (1 - 0.5 * np.abs(2 * c.progress - 1))
    return values


def _level_shift(healthy: Floats, c: _Context) -> Floats:
    return healthy + c.sign * c.size * c.spread


def _leak(healthy: Floats, c: _Context) -> Floats:
    return healthy + 1.5 * c.size * c.spread * c.progress


def _stuck(healthy: Floats, c: _Context) -> Floats:
    return np.full_like(healthy, max(0.0, c.level - c.size / CLEAR * 3 * c.spread))


def _noise_burst(healthy: Floats, c: _Context) -> Floats:
    return healthy + 0.7 * c.size * c.spread * c.rng.standard_normal(len(healthy))


def _decoupling(healthy: Floats, c: _Context) -> Floats:
    mirrored = 2 * c.level - healthy
    values: Floats = mirrored + np.sign(mirrored - healthy) * 0.25 * c.size * c.spread
    return values


FAULTS: tuple[FaultKind, ...] = (
    FaultKind(
        "spike", (20, 60), ("latency_ms", "error_rate", "queue_length", "connections", "disk_io_mb_per_s"), _spike
    ),
    FaultKind(
        "level_shift",
        (60, 240),
        ("latency_ms", "cpu_percent", "error_rate", "requests_per_s", "queries_per_s", "replication_lag_s"),
        _level_shift,
    ),
    FaultKind("leak", (240, 600), ("memory_mb", "open_connections", "latency_ms", "connections", "cpu_percent"), _leak),
    FaultKind(
        "stuck",
        (60, 240),
        ("requests_per_s", "network_kb_per_s", "cpu_percent", "open_connections", "queries_per_s", "disk_io_mb_per_s"),
        _stuck,
    ),
    FaultKind(
        "noise_burst",
        (60, 180),
        ("latency_ms", "queue_length", "cpu_percent", "replication_lag_s", "disk_io_mb_per_s"),
        _noise_burst,
    ),
    FaultKind(
        "decoupling",
        (120, 300),
        ("cpu_percent", "open_connections", "network_kb_per_s", "connections", "cache_hit_ratio"),
        _decoupling,
    ),
)


def schedule(
    seed: int, fleet: Sequence[SimulatedEntity], start: datetime, on_call_from: datetime, end: datetime
) -> tuple[Fault, ...]:
    """Draw every incident, in order of (start, kind, entity); fewer before ``on_call_from``."""
    rng = generator(seed, Stream.FAULT_SCHEDULE)
    faults: list[Fault] = []
    for first, last, rate in (
        (start, on_call_from, CALM_INCIDENTS_PER_ENTITY_DAY),
        (on_call_from, end - TAIL, BUSY_INCIDENTS_PER_ENTITY_DAY),
    ):
        alive = [e for e in fleet if e.born + MARGIN < last]
        days = sum((last - max(first, e.born)).total_seconds() for e in alive) / DAY_SECONDS
        # Kinds in shuffled rounds of six: a short run shows all of them.
        count = round(rate * days)
        rounds = [rng.permutation(len(FAULTS)) for _ in range(count // len(FAULTS) + 1)]
        for kind_index in np.concatenate(rounds)[:count]:
            fault = _place(rng, FAULTS[kind_index], alive, first, last, faults)
            if fault is not None:
                faults.append(fault)
    return tuple(sorted(faults, key=lambda f: (f.start, f.entity.kind.name, f.entity.entity_id)))


def _place(
    rng: np.random.Generator,
    kind: FaultKind,
    alive: Sequence[SimulatedEntity],
    first: datetime,
    last: datetime,
    others: Sequence[Fault],
) -> Fault | None:
    """Draw a fault of ``kind`` where there is room for it; None when the fleet is full."""
    for _ in range(PLACEMENT_ATTEMPTS):
        entity = alive[int(rng.integers(len(alive)))]
        step = timedelta(seconds=entity.kind.step_seconds)
        earliest = max(first, entity.born + MARGIN)
        length = max(2, round(rng.uniform(*kind.minutes) * 60 / entity.kind.step_seconds)) * step
        room = (last - earliest - length) // step
        candidates = [m for m in entity.present_metrics if m in kind.metrics]
        if room < 0 or len(candidates) < 2:
            continue
        start = earliest + int(rng.integers(room + 1)) * step
        start -= (start - datetime(1970, 1, 1, tzinfo=start.tzinfo)) % step
        end = start + length
        crowded = any(o.entity is entity and o.start < end + MARGIN and start < o.end + MARGIN for o in others)
        if crowded or start < first:
            continue
        count = int(rng.integers(2, len(candidates) + 1))
        metrics = tuple(sorted(rng.choice(candidates, size=count, replace=False).tolist()))
        size = float(np.exp(rng.uniform(np.log(SUBTLE), np.log(CLEAR))))
        return Fault(len(others), entity, kind, start, end, metrics, size)
    return None


def strike(seed: int, fault: Fault, values: Floats, times: Times, yardstick: Floats) -> None:
    """Change one day of ``values`` float64 [step, metric] in place where the fault is at work.

    ``times`` is datetime64[us] [step], a whole day from midnight; ``yardstick`` is one healthy day [step, metric] of
    the entity: level and spread of each metric.
    """
    start, end = (np.datetime64(t.replace(tzinfo=None), "us") for t in (fault.start, fault.end))
    inside = (times >= start) & (times < end)
    if not inside.any():
        return
    step = np.timedelta64(fault.entity.kind.step_seconds, "s")
    length = max(1, int((end - start) // step) - 1)
    steps: Ints = (times[inside] - start) // step
    day = int((times[0].astype("datetime64[D]") - start.astype("datetime64[D]")).astype(np.int64))
    for name in fault.metrics:
        column = fault.entity.kind.metrics.index(name)
        rng = generator(seed, Stream.FAULT_NOISE, fault.number, column, day)
        context = _Context(
            progress=steps / length,
            size=fault.size,
            level=float(np.median(yardstick[:, column])),
            spread=float(np.std(yardstick[:, column])),
            sign=-1.0 if name in ("requests_per_s", "queries_per_s") else 1.0,
            rng=rng,
        )
        values[inside, column] = fault.kind.effect(values[inside, column], context)
