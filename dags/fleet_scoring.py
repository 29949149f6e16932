"""### Example: score the newest interval and send alerts

**What** Scores each validated partition with the champion and sends scores and alarms to `emit.targets`: Parquet,
OpenMetrics, Alertmanager. All pages of one fault are one alert. So are entities that fall silent together, or repeat
their values.

**When** Off by default: set `emit.targets` and unpause it. Then once per validated partition, under the same key. With
`partition: day` it learns of a fault a day late; for alerts use `partition: hour`, or score live.

**In** `telemetry/validated/…`, `channels/champion.json` and its release, `emit/<channel>/firing.json`
**Out** the targets in `emit.targets`; `emit/<channel>/firing.json`

**Rerun** Clear the task: files are replaced, and firing alerts are renewed without duplicates.

**Paged** The receiver of `FleetalignIncident` and `FleetalignSilent` in your Alertmanager. Platform on-call when the task fails.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import PartitionedAssetTimetable, dag, task

from fleetalign.config import load, store_uri
from fleetalign.interval import from_partition_key

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import DEFAULTS, VALIDATED


# One run at a time: each goes on from what the one before left firing.
@dag(
    schedule=PartitionedAssetTimetable(assets=VALIDATED),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args=DEFAULTS,
    tags=["fleetalign", "scoring"],
    doc_md=__doc__,
)
def fleet_scoring() -> None:
    @task
    def score(partition_key: str | None = None) -> dict[str, Any]:
        from fleetalign import steps

        config = load()
        return steps.score(config, store_uri(), from_partition_key(partition_key, config.partition))

    score()


fleet_scoring()
