"""### Report the health of the channel and warn before its release expires

**What** Sends gauges of the channel to Airflow's own metrics (StatsD or OpenTelemetry): expiry of its release, age of
telemetry, coverage, the margin of every gate, pages against their budget. Fails while the release is about to expire:
the task's error is the alarm and starts with the cause.

**When** `airflow.crons.health`, or by hand. Skipped until a release is promoted.

**In** `channels/`, the release's manifest, `promotions/`, `drift/`, the newest validated partitions
**Out** gauges `fleetalign.<channel>.…`

**Rerun** Safe at any time.

**Paged** ML on-call by `freshness`, on every run until a newer release is promoted or the old one is renewed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

from fleetalign.config import load, store_uri

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import DEFAULTS, SETTINGS, cron


@dag(
    schedule=cron(SETTINGS.crons.health),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["fleetalign", "release"],
    doc_md=__doc__,
)
def fleet_health() -> None:
    @task.short_circuit
    def measure() -> dict[str, Any] | None:
        from airflow.sdk.observability import stats

        from fleetalign import steps

        found = steps.health(load(), store_uri())
        for name, value in found["gauges"].items() if found else ():
            stats.gauge(stats.normalize_name_for_stats(name, log_warning=False), value)
        return found

    @task
    def freshness(found: dict[str, Any]) -> None:
        if found["alarm"]:
            raise AirflowFailException(found["alarm"])

    freshness(measure())  # type: ignore[arg-type]  # a task's result, handed over when it runs


fleet_health()
