"""What the alignment of a plan will take, told before it fans out.

The rates were measured on one core of the machine that docs/benchmarks.md names ("from raw telemetry"; growth): another
machine differs, by a factor of two or three, so this is for orders of magnitude and budgets.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fleetalign.align.plan import plan_config, range_of
from fleetalign.errors import ConfigError

SECONDS_PER_SAMPLE = {"views": 2.3e-6, "sharead": 6.2e-6}
"""CPU seconds to score and tabulate one sample of one metric."""
SECONDS_PER_ENTITY = 1.5e-3


def expected_cpu_hours(plan: Mapping[str, Any]) -> float:
    """CPU hours of every shard of ``plan`` together; the untrained control of the entities that were spoken about is not counted."""
    rate = SECONDS_PER_SAMPLE[plan_config(plan).model.network]
    seconds = 0.0
    for kind, facts in plan["kinds"].items():
        samples = range_of(plan, kind, "calibrate").seconds / facts["step_seconds"] * len(facts["metrics"])
        seconds += facts["entities"] * (SECONDS_PER_ENTITY + samples * rate)
    return seconds / 3600


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
