"""Estimates the CPU time of an alignment, and from it the number of shards.

The rates were measured on one core of the machine that docs/benchmarks.md names ("from raw telemetry"; growth). Another
machine may differ by a factor of two or three: use the estimate for orders of magnitude and budgets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from fleetalign.config import Config
from fleetalign.config.detectors import find
from fleetalign.contracts.plan import KindPlan, Plan
from fleetalign.errors import ConfigError

SECONDS_PER_ENTITY = 1.5e-3
SHARD_SECONDS = 30.0
"""Work of one shard: Airflow and the libraries take a second or two of each task instance, whatever it does."""
MOST_SHARDS = 256
"""Airflow maps no more than 1,024 tasks by default, and a person must be able to look through them."""


def expected_cpu_hours(plan: Plan) -> float:
    """Estimate the CPU hours of all shards of ``plan``, without the untrained control."""
    network = plan.config["model"]["network"]
    return sum(_seconds(kind, network) * kind.entities for kind in plan.kinds.values()) / 3600


def entities_per_shard(config: Config, kinds: Mapping[str, KindPlan]) -> dict[str, int]:
    """Choose how many entities of each kind one shard holds; ``kinds`` as in a plan.

    The setting ``align.entities_per_shard``, or without one equal parts that take at most ``SHARD_SECONDS`` (longer in a
    fleet that would need more than ``MOST_SHARDS``).
    """
    if config.align.entities_per_shard:
        return dict.fromkeys(kinds, config.align.entities_per_shard)
    one = {kind: _seconds(entry, config.model.network) for kind, entry in kinds.items()}
    whole = sum(one[kind] * entry.entities for kind, entry in kinds.items())
    # Every kind's number of shards is rounded up.
    most = max(SHARD_SECONDS, whole / max(MOST_SHARDS - len(kinds), 1))
    # A kind whose rows all went to quarantine has no entity left.
    entities = {kind: max(entry.entities, 1) for kind, entry in kinds.items()}
    shards = {kind: math.ceil(one[kind] * entities[kind] / most) for kind in kinds}
    return {kind: math.ceil(entities[kind] / shards[kind]) for kind in kinds}


def _seconds(kind: KindPlan, network: str) -> float:
    """CPU seconds of one entity of a kind."""
    steps = kind.ranges.calibrate.seconds / kind.step_seconds
    return SECONDS_PER_ENTITY + steps * len(kind.metrics) * find(network).seconds_per_sample


def require_affordable(plan_id: str, plan: Plan, max_cpu_hours: float) -> None:
    """Raise ConfigError for an alignment that takes more than ``max_cpu_hours`` (0: no limit)."""
    expected = expected_cpu_hours(plan)
    logging.getLogger(__name__).info("plan %s: aligning is expected to take %.2g CPU hours", plan_id, expected)
    if max_cpu_hours and expected > max_cpu_hours:
        entities = sum(kind.entities for kind in plan.kinds.values())
        raise ConfigError(
            f"plan {plan_id}: aligning {entities} entities is expected to take {expected:.3g} CPU hours, more than "
            f"airflow.max_cpu_hours, {max_cpu_hours:g}: raise it, or shorten ranges.history_days"
        )
