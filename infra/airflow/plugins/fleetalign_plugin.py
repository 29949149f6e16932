"""fleetalign in Airflow's UI: a Fleet page, a tab on each run, and links from tasks.

Every Airflow process loads its plugins; only the API server loads the HTML pages (``fleetalign_pages``).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import attrs
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink
from fleetalign_links import MOUNTED_AT, TITLES, made, url


@attrs.define
class PageLink(BaseOperatorLink):
    """A button on a task that opens the HTML page with this title, if the run has one."""

    title: str

    @property
    def name(self) -> str:
        return self.title

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return made(ti_key.dag_id, ti_key.run_id).get(self.title, "")


class FleetalignPlugin(AirflowPlugin):
    """Registers the Fleet page, the Release tab, the links on tasks and their app."""

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
