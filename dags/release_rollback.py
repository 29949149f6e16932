"""### Roll a channel back, by a form

**What** Moves a channel to an older release. The pointer's sequence still increases, so the history stays complete and
scorers that poll the channel change model and thresholds together.

**When** By hand only. `release`: a release id, or empty for the previous one. `channel`, and a `reason` of at least
10 characters. Keys that the form does not define are rejected; otherwise a misspelt `reason` would be ignored.

**In** `channels/<channel>.json` and its history
**Out** the same, one sequence number later

**Rerun** Trigger a new run; do not clear an old one with an empty `release`: it would go back one more release.

**Paged** No one; the user who triggered it sees the failure.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowFailException

from fleetalign.config import load, store_uri

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import CHANNELS, DEFAULTS, operator_of


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "release": Param(
            None, type=["null", "string"], pattern="^[0-9a-f]{16}$", description="Release id; empty: the one before."
        ),
        "channel": Param("champion", type="string", enum=list(CHANNELS), description="Pointer to move."),
        "reason": Param(type="string", minLength=10, description="Why; goes into the channel's history."),
    },
    tags=["fleetalign", "release", "manual"],
    doc_md=__doc__,
)
def release_rollback() -> None:
    @task
    def rollback(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
        from fleetalign import steps

        unknown = sorted(set(dag_run.conf or {}) - {"release", "channel", "reason"})
        if unknown:
            raise AirflowFailException(f"unknown key {', '.join(unknown)}; the form has release, channel and reason")
        return steps.rollback(
            load(),
            store_uri(),
            channel=params["channel"],
            release_id=params["release"] or None,
            by=operator_of(dag_run),
            why=params["reason"],
        )

    rollback()


release_rollback()
