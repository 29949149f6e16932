"""### Store operators' feedback: a form, and the inbox of other tools

**What** The form stores one statement about an interval of an entity, or about a page of a scores table. Every run also
imports what other tools put into `inbox/feedback/`; an object that cannot be read goes to `quarantine/` with the reason.

**When** `airflow.crons.feedback` (the inbox only), or by hand: `entity` (or `attribute`), `start` and `end`, or `page` and `scores`, with a
`verdict`. An incomplete form is rejected, and the message names the missing fields.

**In** the form; `inbox/feedback/*.{jsonl,csv,json}`
**Out** `feedback/`, `inbox/receipts/`; the next `entity_align` uses it

**Rerun** Safe for the inbox: each object is read once. Clearing the run of a form repeats its statement.

**Paged** No one. A quarantined object is in the task's result and log.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from fleetalign.config import load, store_uri

sys.path.append(str(Path(__file__).parent))  # a bundle may be the repository's root
from fleetalign_airflow import DEFAULTS, SETTINGS, cron, operator_of

TEXT: dict[str, Any] = {"type": ["null", "string"], "minLength": 1}
TIME: dict[str, Any] = {"type": ["null", "string"], "format": "date-time"}
VERDICT: dict[str, Any] = {"type": ["null", "string"], "enum": [None, "anomaly", "normal", "false_alarm"]}
FORM = {
    "entity": Param(None, **TEXT, description="[KIND/]ID of the entity, with start and end."),
    "attribute": Param(None, **TEXT, description="KEY=VALUE instead: every entity with this attribute."),
    "kind": Param(None, **TEXT, description="With an attribute: entities of this kind alone."),
    "start": Param(None, **TIME, description="First instant of the interval."),
    "end": Param(None, **TIME, description="First instant after it."),
    "page": Param(None, **TEXT, description="A page instead: its id, with scores."),
    "scores": Param(None, **TEXT, description="Table of scores that holds the page; a path that workers can read."),
    "verdict": Param(None, **VERDICT, description="What it was."),
    "note": Param(None, **TEXT, description="What was seen."),
}


@dag(
    schedule=cron(SETTINGS.crons.feedback),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params=FORM,
    tags=["fleetalign", "alignment", "manual"],
    doc_md=__doc__,
)
def operator_feedback() -> None:
    @task
    def add_feedback(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
        from fleetalign import steps

        form = {**(dag_run.conf or {}), **params}
        form = {name: value for name, value in form.items() if value}
        if not form:
            raise AirflowSkipException("the form is empty: nothing to add")
        return steps.add_feedback(load(), store_uri(), form, by=operator_of(dag_run))

    @task
    def collect_feedback() -> dict[str, Any]:
        from fleetalign import steps

        return steps.collect_feedback(load(), store_uri())

    add_feedback()
    collect_feedback()


operator_feedback()
