"""fleetalign in Airflow's UI: a page about the fleet, a tab on each run, and links from tasks to what they made.

Every process of Airflow loads its plugins; the pages (``fleetalign_pages``) are loaded by the API server alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import quote, urlencode, urlsplit

import attrs
from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

BASE = urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/")
MOUNTED_AT = "/fleetalign"
VALIDATES = "telemetry_validate"
TITLES = ("Release", "Release report", "Promotion verdict", "Manifest", "Drift report", "Data Docs")


def url(path: str, **parameters: Any) -> str:
    """Where a page of this plugin is, as a browser asks for it. Parameters without a value are left out."""
    given = {name: value for name, value in parameters.items() if value not in ("", None)}
    return f"{BASE}{MOUNTED_AT}/{quote(path, safe='/=:+')}" + (f"?{urlencode(given)}" if given else "")


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
"""Per DAG the task whose result names what a run made, and its pages by title."""


def made(dag_id: str, run_id: str) -> dict[str, str]:
    """Title to address of every page about what a run made; empty while it has made nothing."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        if dag_id == VALIDATES:  # a partition that is held gives no result, and is what people look for
            key = session.scalar(select(DagRun.partition_key).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
            return {"Data Docs": url("validations", key=key)} if key else {}
        task_id, pages = MADE.get(dag_id, ("", dict))
        asked = XComModel.get_many(key="return_value", run_id=run_id, dag_ids=dag_id, task_ids=task_id)
        found = session.execute(asked.with_only_columns(XComModel.value)).first()
    try:
        return {} if found is None else pages(found.value)
    except (KeyError, TypeError):  # a result of another version
        return {}


@attrs.define
class PageLink(BaseOperatorLink):
    """A button on a task: the page of that title, where its run has made one."""

    title: str

    @property
    def name(self) -> str:
        return self.title

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return made(ti_key.dag_id, ti_key.run_id).get(self.title, "")


class FleetalignPlugin(AirflowPlugin):
    name = "fleetalign"
    external_views: ClassVar = [
        {"name": "Fleet", "href": url("fleet"), "destination": "nav", "url_route": "fleet", "nav_top_level": True},
        {
            "name": "Release",
            "href": url("run") + "?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": "release",
        },
    ]
    global_operator_extra_links: ClassVar = [PageLink(title) for title in TITLES]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        from fleetalign_pages import app

        return [{"app": app, "url_prefix": MOUNTED_AT, "name": "fleetalign"}]
