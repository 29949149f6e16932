"""Addresses of fleetalign's HTML pages in Airflow, and the links from a run to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from airflow.configuration import conf

BASE = urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/")
MOUNTED_AT = "/fleetalign"
VALIDATES = "telemetry_validate"
TITLES = ("Release", "Release report", "Promotion verdict", "Manifest", "Drift report", "Data Docs")


def url(path: str, **parameters: Any) -> str:
    """Return the address of a page of this plugin; parameters without a value are left out."""
    query = {name: value for name, value in parameters.items() if value not in ("", None)}
    return f"{BASE}{MOUNTED_AT}/{quote(path, safe='/=:+')}" + (f"?{urlencode(query)}" if query else "")


def _release(release_id: str) -> dict[str, str]:
    return {
        "Release": url(f"release/{release_id}"),
        "Release report": url(f"store/releases/{release_id}/report.html"),
        "Promotion verdict": url(f"release/{release_id}") + "#verdict",
        "Manifest": url(f"store/releases/{release_id}/manifest.json"),
    }


def _plan(result: dict[str, Any]) -> dict[str, str]:
    return {"Release": url(f"plan/{result['plan_id']}")}


def _drift(result: dict[str, Any] | None) -> dict[str, str]:
    return {"Drift report": url(f"store/{result['report']}"), **_release(result["release_id"])} if result else {}


MADE: dict[str, tuple[str, Callable[[Any], dict[str, str]]]] = {
    "release_promote": ("release", _release),
    "release_rollback": ("rollback", lambda result: _release(result["release_id"])),
    "entity_align": ("align_reduce", _plan),
    "shared_pretrain": ("pretrain", _plan),
    "drift_check": ("check", _drift),
}
"""Per DAG: the task whose result names the artifacts of a run, and the links that follow from that result."""


def made(dag_id: str, run_id: str) -> dict[str, str]:
    """Return title -> address of the HTML pages about a run's artifacts; empty without any."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        if dag_id == VALIDATES:  # a held partition has no result, and is what an operator looks for
            key = session.scalar(select(DagRun.partition_key).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
            return {"Data Docs": url("validations", key=key)} if key else {}
        task_id, pages = MADE.get(dag_id, ("", dict))
        asked = XComModel.get_many(key="return_value", run_id=run_id, dag_ids=dag_id, task_ids=task_id)
        found = session.execute(asked.with_only_columns(XComModel.value)).first()
    try:
        return {} if found is None else pages(found.value)
    except (KeyError, TypeError):  # written by another version of fleetalign
        return {}
