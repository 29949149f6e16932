"""### Align every entity: plan, shards, aligner table

**What** Scores the calibrate range with the exported graph, shard by shard, and reduces the shards to one aligner row per
entity. An entity that cannot be aligned gets a row with state and reason. If no entity can be aligned, the run fails; if
too few can, the release's coverage gate fails.

**When** `airflow.crons.align`, and on every new `shared_model`. Uses the newest model; without new input the plan is the same.

**In** `models/`, `telemetry/validated/`, feedback
**Out** `aligners/<id>/`, `normalizers/<id>/`, asset `aligner_table`

**Rerun** Clear any task. Clear a shard *with* its downstream tasks, otherwise the table stays as it was.

**Paged** ML on-call. Needs slots of the `align` pool.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, dag, get_current_context, task

from fleetalign.config import load, store_uri

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import ALIGNER_TABLE, DEFAULTS, SETTINGS, SHARED_MODEL, cron
from fleetalign_lineage import announce


@dag(
    schedule=AssetOrTimeSchedule(timetable=cron(SETTINGS.crons.align), assets=[SHARED_MODEL]),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["fleetalign", "alignment"],
    doc_md=__doc__,
)
def entity_align() -> None:
    @task
    def plan() -> str:
        from fleetalign import steps

        plan_id: str = steps.plan(load(), store_uri(), reuse_model=True)["plan_id"]
        return plan_id

    @task
    def shards(plan_id: str) -> list[dict[str, Any]]:
        from fleetalign import steps

        return steps.shards(load(), store_uri(), plan_id)

    @task(pool=SETTINGS.pools.align, map_index_template="{{ shard_label }}")
    def align_shard(plan_id: str, shard: dict[str, Any]) -> dict[str, Any]:
        from fleetalign import steps

        get_current_context()["shard_label"] = shard["label"]  # type: ignore[typeddict-unknown-key]  # the template's
        return steps.align_shard(load(), store_uri(), plan_id, shard["index"])

    # An event of every shard would wake promotion many times; only the table is news.
    @task(outlets=[ALIGNER_TABLE])
    def align_reduce(plan_id: str, outlet_events: Any = None) -> dict[str, Any]:
        from fleetalign import steps

        result = steps.align_reduce(load(), store_uri(), plan_id)
        announce(outlet_events, ALIGNER_TABLE, result)
        return result

    plan_id = plan()
    each = shards(plan_id)  # type: ignore[arg-type]  # a task's result, handed over when it runs
    aligned = align_shard.partial(plan_id=plan_id).expand(shard=each)
    aligned >> align_reduce(plan_id)  # type: ignore[arg-type]  # likewise


entity_align()
