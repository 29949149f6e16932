"""What an alignment will take: told before it fans out, and the reason for how many shards it fans out to.

The rates were measured on one core of the machine that docs/benchmarks.md names ("from raw telemetry"; growth): another
machine differs, by a factor of two or three, so this is for orders of magnitude and budgets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from fleetalign.config import Config
from fleetalign.config.detectors import find
from fleetalign.errors import ConfigError
from fleetalign.interval import Interval

SECONDS_PER_ENTITY = 1.5e-3
SHARD_SECONDS = 30.0
"""Work of one shard: Airflow and the libraries take a second or two of each task instance, whatever it does."""
MOST_SHARDS = 256
"""Airflow takes no more than 1,024 mapped tasks by default, and people look at them."""


def expected_cpu_hours(plan: Mapping[str, Any]) -> float:
    """CPU hours of every shard of ``plan`` together; the untrained control of the entities that were spoken about is not counted."""
    network = plan["config"]["model"]["network"]
    return sum(_seconds(facts, network) * facts["entities"] for facts in plan["kinds"].values()) / 3600


def entities_per_shard(config: Config, kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How many entities of each kind one shard holds; ``kinds`` as in a plan.

    ``align.entities_per_shard`` where it is given; else equal parts that take at most ``SHARD_SECONDS``, or longer in a fleet
    that would need more than ``MOST_SHARDS``.
    """
    if config.align.entities_per_shard:
        return dict.fromkeys(kinds, config.align.entities_per_shard)
    one = {kind: _seconds(facts, config.model.network) for kind, facts in kinds.items()}
    whole = sum(one[kind] * facts["entities"] for kind, facts in kinds.items())
    # Every kind's number of shards is rounded up.
    most = max(SHARD_SECONDS, whole / max(MOST_SHARDS - len(kinds), 1))
    # A kind whose rows all went to quarantine has no entity left.
    entities = {kind: max(facts["entities"], 1) for kind, facts in kinds.items()}
    shards = {kind: math.ceil(one[kind] * entities[kind] / most) for kind in kinds}
    return {kind: math.ceil(entities[kind] / shards[kind]) for kind in kinds}


def _seconds(facts: Mapping[str, Any], network: str) -> float:
    """CPU seconds of one entity of a kind of the plan."""
    calibrate = facts["ranges"]["calibrate"]
    steps = Interval.parse(calibrate["start"], calibrate["end"]).seconds / facts["step_seconds"]
    return SECONDS_PER_ENTITY + steps * len(facts["metrics"]) * find(network).seconds_per_sample


def require_affordable(plan_id: str, plan: Mapping[str, Any], max_cpu_hours: float) -> None:
    """Raise ConfigError when the alignment is expected to take more than ``max_cpu_hours``; 0 = whatever it takes."""
    expected = expected_cpu_hours(plan)
    logging.getLogger(__name__).info("plan %s: aligning is expected to take %.2g CPU hours", plan_id, expected)
    if max_cpu_hours and expected > max_cpu_hours:
        entities = sum(facts["entities"] for facts in plan["kinds"].values())
        raise ConfigError(
            f"plan {plan_id}: aligning {entities} entities is expected to take {expected:.3g} CPU hours, more than "
            f"airflow.max_cpu_hours, {max_cpu_hours:g}: raise it, or shorten ranges.history_days"
        )
