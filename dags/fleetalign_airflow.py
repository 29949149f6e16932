"""Names that two DAG files must agree on: assets, defaults, retry rules, settings. Steps are in ``fleetalign.steps``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, CronTriggerTimetable, ExceptionRetryPolicy, RetryAction, RetryRule

from fleetalign.config import load
from fleetalign.errors import FleetalignError
from fleetalign.interval import KEY_FORMATS

SETTINGS = load().airflow
KEY_FORMAT = KEY_FORMATS[load().partition]
CHANNELS = ("champion", "challenger")

RAW = Asset("telemetry_raw")
VALIDATED = Asset("telemetry_validated")
SHARED_MODEL = Asset("shared_model")
ALIGNER_TABLE = Asset("aligner_table")
RELEASE = Asset("release")

# An unpaused DAG without runs must wait for its next tick. Airflow 3.3.2 treats `False` as its default, which starts a run
# at once while the last tick is less than a tenth of the interval ago (`CronTriggerTimetable._calc_first_run`).
NEVER_AT_ONCE = timedelta(0)


def cron(expression: str) -> CronTriggerTimetable:
    """Schedule of a DAG that starts at the ticks of ``expression`` (UTC) and at no other time."""
    return CronTriggerTimetable(expression, timezone="UTC", run_immediately=NEVER_AT_ONCE)


def _tree(root: type[FleetalignError]) -> Iterator[type[FleetalignError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


# The error tree says where a retry helps. Everything else that is raised is a bug: failing at once shows it sooner.
# A killed worker raises nothing, so it is retried as `retries` says; every step bears that.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=f"{error.__module__}.{error.__qualname__}",
            action=RetryAction.RETRY if error.retry_helps else RetryAction.FAIL,
            match_subclasses=False,
        )
        for error in _tree(FleetalignError)
    ],
    default=RetryAction.FAIL,
)

REASON = "(exception | default('the task was killed, or its worker went away', true) | string).splitlines()[0]"
WHERE = "{{ ti.dag_id }}.{{ ti.task_id }}, run {{ ti.run_id }}"


def notifiers() -> list[Any]:
    """Return what notifies people of a failed task: the reason first, then where."""
    found: list[Any] = []
    if SETTINGS.notify.email:
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        subject = f"{{{{ {REASON} }}}} ({WHERE})"
        body = f"<p>{{{{ {REASON} | e }}}}</p><p>{WHERE}</p><p>{{{{ ti.log_url }}}}</p>"
        mail: dict[str, Any] = {"subject": subject, "html_content": body, "smtp_conn_id": SETTINGS.notify.smtp_conn_id}
        found.append(SmtpNotifier(SETTINGS.notify.email, **mail))
    if SETTINGS.notify.http_conn_id:
        from airflow.providers.http.notifications import HttpNotifier

        names = {name: f"{{{{ ti.{name} }}}}" for name in ("dag_id", "task_id", "run_id", "log_url")}
        text = {"text": f"{{{{ {REASON} }}}} ({WHERE})", "reason": f"{{{{ {REASON} }}}}"}
        found.append(HttpNotifier(http_conn_id=SETTINGS.notify.http_conn_id, json=text | names))
    return found


DEFAULTS: dict[str, Any] = {
    "owner": "fleetalign",
    "retries": SETTINGS.retries,
    "retry_delay": timedelta(seconds=SETTINGS.retry_delay_seconds),
    "retry_policy": RETRY_POLICY,
    "on_failure_callback": notifiers(),
}

START_PRETRAIN: dict[str, Any] = {
    "trigger_dag_id": "shared_pretrain",
    # The run names the state of the store that a task `due` found: the same state starts nothing twice.
    "trigger_run_id": "due__{{ ti.xcom_pull(task_ids='due')['snapshot'] }}",
    "logical_date": None,
    "skip_when_already_exists": True,
    "openlineage_inject_parent_info": False,
}


def operator_of(dag_run: Any) -> str:
    """Return who started a run, for the channel's history; else the run itself."""
    return getattr(dag_run, "triggering_user_name", None) or f"airflow:{dag_run.run_id}"
