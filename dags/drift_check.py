"""### Compare telemetry with what the champion was built on

**What** Compares the newest complete day of validated telemetry with the last days that the champion was built on: shifted
metrics, clipped values, score quantile, new and silent entities, pages. Writes a report and a document. With
`drift.pretrain_when_drifted`, a finding makes a pre-training due, once per model.

**When** `airflow.crons.drift`, or by hand. Skipped until a release is promoted.

**In** `telemetry/validated/…`, `channels/<channel>.json` and its release, the release's plan
**Out** `drift/<release_id>/<day>/report.html` and `.json`; a run `due__<snapshot>` of `shared_pretrain`

**Rerun** Safe at any time: the same store gives the same bytes, and the same state never starts a second pre-training.

**Paged** Platform on-call when the task fails. A finding pages no one: it is in the task's result and in the log.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag, task

from fleetalign.config import load, store_uri

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import DEFAULTS, SETTINGS, START_PRETRAIN, cron


@dag(
    schedule=cron(SETTINGS.crons.drift),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["fleetalign", "release", "training"],
    doc_md=__doc__,
)
def drift_check() -> None:
    @task.short_circuit
    def check() -> dict[str, Any] | None:
        from fleetalign import steps

        return steps.drift(load(), store_uri())

    # The same look as pretrain_due's, which otherwise would see the report a day later.
    @task.short_circuit
    def due() -> dict[str, str] | None:
        from fleetalign import steps

        return steps.pretrain_due(load(), store_uri())

    start = TriggerDagRunOperator(task_id="start", **START_PRETRAIN)
    check() >> due() >> start


drift_check()
