"""### Collect unreferenced objects of the store

**What** Lists models, aligners, normalizers, plans, drift reports, incomplete releases and replaced telemetry files that no
release, channel, history or kept plan references. Deletes them only with `dry_run: false`. Complete releases, files of
current partitions, feedback and the data registry are never touched.

**When** `airflow.crons.gc` (dry run), or by hand.

**In** the whole store
**Out** the list in the task's XCom and log

**Rerun** Safe at any time: objects younger than `min_age_hours` stay, so a build in progress loses nothing.

**Paged** No one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task

from fleetalign.config import load, store_uri

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import DEFAULTS, SETTINGS, cron


@dag(
    schedule=cron(SETTINGS.crons.gc),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "dry_run": Param(True, type="boolean", description="Only say what would be deleted."),
        "min_age_hours": Param(168, type="number", minimum=1, description="Younger objects are never deleted."),
    },
    tags=["fleetalign", "storage"],
    doc_md=__doc__,
)
def storage_gc() -> None:
    @task
    def collect_garbage(params: Any = None) -> dict[str, Any]:
        from fleetalign import steps

        return steps.collect_garbage(
            load(), store_uri(), dry_run=params["dry_run"], min_age_hours=params["min_age_hours"]
        )

    collect_garbage()


storage_gc()
