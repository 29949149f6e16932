"""### Build a release and promote it

**What** Bundles the newest aligner table and its model into an immutable release and evaluates it (gates, report). If every
gate and the comparison with the champion pass, moves the channel's pointer. Otherwise the run fails with the reason; the
release still exists and can be promoted by hand. With `airflow.approval_hours`, a user must approve first: the task
`approve` shows the verdict; after a rejection, or without an answer in time, the channel stays.

**When** On every new `aligner_table`, or by hand. Changes nothing if the channel already has the same aligner table.

**In** the newest plan with an aligner table
**Out** `releases/<release_id>/`, `promotions/`, `channels/`, asset `release`

**Rerun** Clear either task: releases are content-addressed, a second promotion of the champion changes nothing.

**Paged** ML on-call when a gate fails; `fleetalign explain` shows why on one screen.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowFailException

from fleetalign.config import load, store_uri
from fleetalign.errors import GateRefused

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import ALIGNER_TABLE, CHANNELS, DEFAULTS, RELEASE, SETTINGS, operator_of
from fleetalign_lineage import announce


@dag(
    schedule=[ALIGNER_TABLE],
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "channel": Param(load().release.channel, type="string", enum=list(CHANNELS), description="Pointer to move."),
        "reason": Param(
            "new aligner table", type="string", minLength=3, description="Goes into the channel's history."
        ),
        "force": Param(False, type="boolean", description="Promote although a gate says no; the history shows it."),
    },
    tags=["fleetalign", "release"],
    doc_md=__doc__,
)
def release_promote() -> None:
    @task(outlets=[RELEASE])
    def release(outlet_events: Any = None) -> str:
        from fleetalign import steps

        plan_id = steps.latest(load(), store_uri(), "align_reduce")
        if plan_id is None:
            raise AirflowFailException("there is no aligner table yet; run entity_align first")
        result = steps.release(load(), store_uri(), plan_id)
        announce(outlet_events, RELEASE, result)
        release_id: str = result["release_id"]
        return release_id

    # Without anything to move, no approval is asked for. A gate that refuses fails here.
    @task.short_circuit
    def verdict(release_id: str, params: Any = None) -> str | None:
        from fleetalign import steps

        channel, force = params["channel"], params["force"]
        return steps.promotion_verdict(load(), store_uri(), release_id, channel=channel, force=force)

    @task
    def promote(release_id: str, params: Any = None, dag_run: Any = None, ti: Any = None) -> dict[str, Any]:
        from fleetalign import steps

        channel, why, force = params["channel"], params["reason"], params["force"]
        answer = ti.xcom_pull(task_ids="approve") if SETTINGS.approval_hours else None
        by = answer["responded_by_user"]["name"] if answer else operator_of(dag_run)
        try:
            return steps.promote(load(), store_uri(), release_id, channel=channel, by=by, why=why, force=force)
        except GateRefused as refusal:
            raise AirflowFailException(str(refusal)) from None

    released = release()
    moved = promote(released)  # type: ignore[arg-type]  # a task's result, handed over when it runs
    if SETTINGS.approval_hours:
        approve = ApprovalOperator(
            task_id="approve",
            subject="Promote {{ ti.xcom_pull(task_ids='release') }} to {{ params.channel }}?",
            body="{{ ti.xcom_pull(task_ids='verdict') }}",
            defaults=ApprovalOperator.REJECT,
            response_timeout=timedelta(hours=SETTINGS.approval_hours),
        )
        verdict(released) >> approve >> moved  # type: ignore[arg-type]  # a task's result, handed over when it runs


release_promote()
