"""The shape of all DAGs in one committed file, so that a change is a diff. ``make structure`` updates it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).parent / "structure.json"


def schedule_of(dag: Any) -> Any:
    from airflow.serialization.serialized_objects import DagSerialization

    timetable = DagSerialization.to_dict(dag)["dag"]["timetable"]
    return {"type": timetable["__type"].rpartition(".")[2], **json.loads(json.dumps(timetable["__var"], default=str))}


def structure_of(dag: Any) -> dict[str, Any]:
    return {
        "schedule": schedule_of(dag),
        "max_active_runs": dag.max_active_runs,
        "tags": sorted(dag.tags),
        "params": {name: dag.params.get_param(name).dump() for name in sorted(dag.params)},
        "tasks": {
            task.task_id: {
                "downstream": sorted(task.downstream_task_ids),
                "mapped": task.is_mapped,
                "outlets": [asset.name for asset in task.outlets],
                "pool": task.pool,
                "retries": task.retries,
            }
            for task in sorted(dag.tasks, key=lambda task: task.task_id)
        },
    }


def test_structure_is_the_committed_one(dags: dict[str, Any]) -> None:
    found = {dag_id: structure_of(dags[dag_id]) for dag_id in sorted(dags)}
    text = json.dumps(found, indent=2, sort_keys=True, default=str) + "\n"
    if os.environ.get("UPDATE_STRUCTURE"):
        SNAPSHOT.write_text(text)
    assert text == SNAPSHOT.read_text(), "the DAGs changed; if that is wanted, run make structure and commit the diff"
