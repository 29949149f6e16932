"""### Ingest one closed partition of every kind

**What** Reads one day (or hour) from the configured source, converts it and writes the raw partition.
Unreadable objects and rows go to `quarantine/` with a reason.

**When** `airflow.crons.ingest`, for the partition that has just closed; UI or CLI backfill; REST with a key:
`POST /api/v2/dags/telemetry_ingest/dagRuns {"logical_date": null, "partition_key": "2026-03-02"}`.
A run without a key fails, because its event would wake no consumer.

**In** the `source` section of params.yaml
**Out** `telemetry/raw/…/_partition.json`, asset `telemetry_raw`

**Rerun** Clear the task or backfill: equal input changes no byte. A clear emits the event again, and validation runs again.

**Paged** Platform on-call after the last retry. Bad rows page no one; they are counted and quarantined.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import CronPartitionTimetable, dag, task

from fleetalign.config import load, store_uri
from fleetalign.interval import from_partition_key

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import DEFAULTS, KEY_FORMAT, NEVER_AT_ONCE, RAW, SETTINGS
from fleetalign_lineage import announce


# No start_date: with one in the past, the first unpause starts an unwanted run.
@dag(
    schedule=CronPartitionTimetable(
        SETTINGS.crons.ingest, timezone="UTC", run_offset=-1, key_format=KEY_FORMAT, run_immediately=NEVER_AT_ONCE
    ),
    catchup=False,
    max_active_runs=SETTINGS.max_active_partitions,
    default_args=DEFAULTS,
    tags=["fleetalign", "telemetry"],
    doc_md=__doc__,
)
def telemetry_ingest() -> None:
    @task(outlets=[RAW])
    def ingest(partition_key: str | None = None, outlet_events: Any = None) -> dict[str, Any]:
        from fleetalign import steps

        config = load()
        result = steps.ingest(config, store_uri(), from_partition_key(partition_key, config.partition))
        announce(outlet_events, RAW, result)
        return result

    ingest()


telemetry_ingest()
