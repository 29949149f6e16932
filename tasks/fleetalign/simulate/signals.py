"""Healthy values: daily and weekly rhythm, shared load, metrics coupled through load."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np

from fleetalign.contracts.arrays import Floats
from fleetalign.interval import DAY_SECONDS
from fleetalign.simulate.fleet import DATABASE, KINDS, SimulatedEntity
from fleetalign.simulate.random import Stream, generator, smooth_noise

GROUP_MEMORY_SECONDS = 7_200
ENTITY_MEMORY_SECONDS = 1_800
WEEKEND_HOURS = (120.0, 168.0)
WEEKEND_EDGE_HOURS = 2.0


@dataclass(frozen=True, slots=True)
class _GroupLoad:
    """Load of one group of replicas: requests or queries per second and replica, before noise."""

    base: float
    daily: float
    half_daily: float
    peak_hour: float
    weekend_drop: float
    noise: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _GroupLoad:
        return cls(
            base=float(np.exp(rng.uniform(np.log(40), np.log(800)))),
            daily=rng.uniform(0.3, 0.55),
            half_daily=rng.uniform(0.05, 0.15),
            peak_hour=rng.uniform(11, 20),
            weekend_drop=rng.uniform(0.1, 0.35),
            noise=rng.uniform(0.04, 0.07),
        )

    def at(self, hour_of_week: Floats) -> Floats:
        phase = 2 * np.pi * (hour_of_week - self.peak_hour) / 24
        rhythm = 1 + self.daily * np.cos(phase) + self.half_daily * np.cos(2 * phase)
        load: Floats = self.base * rhythm * (1 - self.weekend_drop * weekend(hour_of_week))
        return load


def weekend(hour_of_week: Floats) -> Floats:
    """Return 1 on weekends, 0 on other days, with soft edges; hour 0 is Monday midnight."""

    def rise(x: Floats) -> Floats:
        return 1 / (1 + np.exp(-x / WEEKEND_EDGE_HOURS))

    first, last = WEEKEND_HOURS
    return rise(hour_of_week - first) * rise(last - hour_of_week) + rise(-hour_of_week)


def healthy(seed: int, entity: SimulatedEntity, start: datetime, day: int) -> Floats:
    """Return fault-free values [step, metric] of day number ``day``, none missing."""
    kind = entity.kind
    steps = DAY_SECONDS // kind.step_seconds
    kind_index = KINDS.index(kind)
    midnight = start + timedelta(days=day)
    hour_of_week = 24 * midnight.weekday() + np.arange(steps) * kind.step_seconds / 3600
    group = _GroupLoad.draw(generator(seed, Stream.GROUP_PARAMETERS, kind_index, entity.group))
    shared = _group_noise(seed, kind_index, entity.group, day, steps, GROUP_MEMORY_SECONDS // kind.step_seconds)
    own = smooth_noise(
        seed,
        Stream.ENTITY_NOISE,
        (kind_index, entity.index),
        day,
        steps,
        max(1, ENTITY_MEMORY_SECONDS // kind.step_seconds),
    )
    load = group.at(hour_of_week) * np.exp(group.noise * shared + 0.025 * own)
    white = generator(seed, Stream.METRIC_NOISE, kind_index, entity.index, day).standard_normal(
        (len(kind.metrics), steps)
    )
    group_rng = generator(seed, Stream.GROUP_PARAMETERS, kind_index, entity.group, 1)
    entity_rng = generator(seed, Stream.ENTITY_PARAMETERS, kind_index, entity.index)
    model = _database if kind is DATABASE else _service
    columns = model(load, load / group.base, white, own, group_rng, entity_rng)
    values: Floats = np.clip(np.stack([columns[m] for m in kind.metrics], axis=1), 0.0, kind.upper_limits)
    return values


@lru_cache(maxsize=64)
def _group_noise(seed: int, kind_index: int, group: int, day: int, steps: int, memory_steps: int) -> Floats:
    return smooth_noise(seed, Stream.GROUP_NOISE, (kind_index, group), day, steps, memory_steps)


def _service(
    load: Floats,
    relative: Floats,
    white: Floats,
    own: Floats,
    group_rng: np.random.Generator,
    entity_rng: np.random.Generator,
) -> dict[str, Floats]:
    """Derive the metrics of a service from its load.

    ``relative`` is load over the group's base load, about 0.5 to 1.6; ``white`` is [metric, step].
    """
    latency_floor, payload_kb, memory_base = group_rng.uniform((20, 2, 600), (120, 30, 4_000))
    cpu_idle, cpu_per_load = group_rng.uniform((4, 22), (10, 38))
    tilt = entity_rng.uniform(0.97, 1.03, size=3)
    cpu = cpu_idle + cpu_per_load * relative * tilt[0] + 0.8 * white[0]
    busy = np.clip(cpu / 100, 0, 0.95)
    latency = latency_floor * tilt[1] * (1 + 1.5 * busy**2 / (1 - busy)) * np.exp(0.04 * white[1])
    queue = 12 * busy**2 / (1 - busy) * np.exp(0.12 * white[2])
    return {
        "cpu_percent": cpu,
        "error_rate": 0.002 * (1 + 2 * busy) * np.exp(0.25 * white[3]),
        "latency_ms": latency,
        "memory_mb": memory_base * tilt[2] * (0.85 + 0.12 * relative + 0.01 * own + 0.004 * white[4]),
        "network_kb_per_s": load * payload_kb * np.exp(0.03 * white[5]),
        "open_connections": 5 + load * latency / 1000 * np.exp(0.05 * white[6]),
        "queue_length": queue,
        "requests_per_s": load * np.exp(0.02 * white[7]),
    }


def _database(
    load: Floats,
    relative: Floats,
    white: Floats,
    own: Floats,
    group_rng: np.random.Generator,
    entity_rng: np.random.Generator,
) -> dict[str, Floats]:
    """Derive the metrics of a database from its load; arguments as in ``_service``."""
    miss_ratio, pool_size, row_kb = group_rng.uniform((0.01, 20, 4), (0.04, 80, 40))
    tilt = entity_rng.uniform(0.97, 1.03, size=3)
    misses = miss_ratio * (0.7 + 0.3 * relative) * tilt[0] * np.exp(0.06 * white[0] + 0.03 * own)
    disk = load * misses * row_kb / 4 * np.exp(0.05 * white[3]) + 1.0
    return {
        "cache_hit_ratio": 1 - misses,
        "connections": pool_size * tilt[1] * (0.5 + 0.5 * relative) * np.exp(0.03 * white[1]),
        "cpu_percent": 6 + 26 * relative * tilt[2] + 0.9 * white[2],
        "disk_io_mb_per_s": disk,
        "queries_per_s": load * np.exp(0.02 * white[4]),
        "replication_lag_s": 0.3 * relative**2 * np.exp(0.15 * white[5]),
    }
