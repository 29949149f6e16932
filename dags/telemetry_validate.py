"""### Validate a raw partition

**What** Arrow checks decide about cells, rows and series; critical expectations of Great Expectations decide about
the whole partition. Rejected cells and rows go to `quarantine/` with entity, column, time and rule.

**When** Once per event of `telemetry_raw`, under the same partition key. REST with a key replaces a lost event.

**In** `telemetry/raw/…`
**Out** `telemetry/validated/…/_partition.json`, `validation/…`, asset `telemetry_validated`

**Rerun** Clear the task: equal input changes no byte. After a held partition: correct the source and ingest the day again.

**Paged** Data owner when a partition is held (the task fails with the expectation's name, no retry);
platform on-call for store errors.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import PartitionedAssetTimetable, dag, task

from fleetalign.config import load, store_uri
from fleetalign.interval import from_partition_key

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import DEFAULTS, RAW, SETTINGS, VALIDATED
from fleetalign_lineage import announce


@dag(
    schedule=PartitionedAssetTimetable(assets=RAW),
    catchup=False,
    max_active_runs=SETTINGS.max_active_partitions,
    default_args=DEFAULTS,
    tags=["fleetalign", "telemetry"],
    doc_md=__doc__,
)
def telemetry_validate() -> None:
    @task(outlets=[VALIDATED])
    def validate(partition_key: str | None = None, outlet_events: Any = None) -> dict[str, Any]:
        from fleetalign import steps

        config = load()
        result = steps.validate(config, store_uri(), from_partition_key(partition_key, config.partition))
        announce(outlet_events, VALIDATED, result)
        return result

    validate()


telemetry_validate()
