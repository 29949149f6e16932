"""### Example: score the newest interval and page

**What** Scores each partition that was validated with the champion and sends scores and alarms to `emit.targets`:
Parquet, OpenMetrics, Alertmanager. Pages of one fault are one alert.

**When** Off by default: paused until you have set `emit.targets` and unpause it. Then once per validated partition,
under the same key. With `partition: day` it hears of a fault a day late; page on `partition: hour`, or score live.

**In** `telemetry/validated/…`, `channels/champion.json` and its release, `emit/<channel>/firing.json`
**Out** what `emit.targets` names; `emit/<channel>/firing.json`

**Rerun** Clear the task: files are replaced, alerts that fire are renewed and not doubled.

**Paged** Who your Alertmanager routes `FleetalignIncident` to. When the task fails: platform on-call.
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
