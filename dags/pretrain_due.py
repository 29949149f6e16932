"""### Start a pre-training when one is due

**What** The bridge from keyed to un-keyed runs. Reads the store, not events: when `airflow.min_new_partitions`
or more validated partitions per kind are newer than the last model, starts `shared_pretrain` once for that state. With
`drift.pretrain_when_drifted`, a drift report of the champion does the same. The result of `due` gives the reason.

**When** After validated partitions. Airflow merges bursts into a few runs; each run reads the whole store.

**In** `telemetry/validated/`, the newest pre-training receipt, the champion's newest drift report
**Out** a run `due__<snapshot>` of `shared_pretrain`

**Rerun** Safe at any time: the run id names the state of the store, so the same state never starts a second run.

**Paged** Platform on-call.
"""

from __future__ import annotations

import sys
from pathlib import Path

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import FixedKeyMapper, PartitionedAssetTimetable, dag, task

from fleetalign.config import load, store_uri

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import DEFAULTS, START_PRETRAIN, VALIDATED


@dag(
    schedule=PartitionedAssetTimetable(assets=VALIDATED, default_partition_mapper=FixedKeyMapper("fleet")),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["fleetalign", "training"],
    doc_md=__doc__,
)
def pretrain_due() -> None:
    @task.short_circuit
    def due() -> dict[str, str] | None:
        from fleetalign import steps

        return steps.pretrain_due(load(), store_uri())

    # A run's key sticks to every event it emits; a triggered run has none, which wakes entity_align later.
    start = TriggerDagRunOperator(task_id="start", **START_PRETRAIN)
    due() >> start


pretrain_due()
