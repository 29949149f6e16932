"""### Train the shared model: plan, data version, pre-training

**What** Writes an immutable plan, records its partitions in the data registry (DVC), trains one model per kind on the
whole fleet and exports it. The same inputs give the same plan, and a plan that has its models is not trained again.

**When** `airflow.crons.pretrain`, from `pretrain_due`, or by hand (`force` trains again and compares the bytes).

**In** `telemetry/validated/`, feedback, mutes
**Out** `plans/<plan_id>.json`, `models/<model_id>/`, asset `shared_model`

**Rerun** Clear any task. A killed training continues from its checkpoint to the same bytes.

**Paged** ML on-call. Needs a slot of the `gpu` pool; `airflow.gpu_queue` and `airflow.gpu_executor` choose where it runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task

from fleetalign.config import load, store_uri

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import DEFAULTS, SETTINGS, SHARED_MODEL, cron
from fleetalign_gpu import GPU
from fleetalign_lineage import announce


@dag(
    schedule=cron(SETTINGS.crons.pretrain),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "force": Param(False, type="boolean", description="Train again even if this plan has its models."),
    },
    tags=["fleetalign", "training"],
    doc_md=__doc__,
)
def shared_pretrain() -> None:
    @task
    def plan() -> str:
        from fleetalign import steps

        plan_id: str = steps.plan(load(), store_uri())["plan_id"]
        return plan_id

    # DVC locks its repository: one slot.
    @task(pool=SETTINGS.pools.dvc)
    def snapshot(plan_id: str) -> dict[str, Any]:
        from fleetalign import steps

        return steps.snapshot(load(), store_uri(), plan_id)

    @task(outlets=[SHARED_MODEL], **GPU)
    def pretrain(plan_id: str, params: Any = None, outlet_events: Any = None) -> dict[str, Any]:
        from fleetalign import steps

        result = steps.pretrain(load(), store_uri(), plan_id, force=params["force"])
        announce(outlet_events, SHARED_MODEL, result)
        return result

    plan_id = plan()
    snapshot(plan_id) >> pretrain(plan_id)  # type: ignore[arg-type]  # a task's result, handed over when it runs


shared_pretrain()
