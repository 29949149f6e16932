"""A store of another version: ``store-1.0/`` is whole, as the first fleetalign wrote it, and is never written anew."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from fleetalign.contracts.feedback import feedback_id, in_force
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.tables import FEEDBACK, RETRACTED
from fleetalign.errors import BadInput, ConfigError
from fleetalign.plan.document import PLAN_VERSION, plan_config, read_plan, read_statements
from fleetalign.plan.draft import draft
from fleetalign.plan.realign import same_inputs
from fleetalign.release.verify import verify
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import channel as channels
from fleetalign.storage import lake, layout, statements
from fleetalign.storage.connect import open_store
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store

FIRST = Path(__file__).parent / "store-1.0"
PLAN, RELEASE = "cba866a6e88d0159", "28e1334f771859b6"
DAY = datetime(2026, 3, 9, tzinfo=UTC)
READERS = {
    layout.plan(PLAN): lambda store: read_plan(store, PLAN),
    layout.release(RELEASE, "manifest.json"): lambda store: read_manifest(store, RELEASE),
    layout.channel("champion"): lambda store: channels.read(store, "champion"),
    "telemetry/validated/kind=service/date=2026-03-10/_partition.json": lambda store: lake.list_partitions(
        store, "validated"
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(shutil.copytree(FIRST, tmp_path / "store")))


def test_a_release_of_the_first_version_serves_and_can_be_moved_to(store: Store) -> None:
    assert verify(store, RELEASE) == []
    (telemetry,) = lake.read_parts(store, lake.list_partitions(store, "validated")[0])
    scores = Scorer.open(store).score(telemetry)
    assert scores.num_rows == telemetry.num_rows
    assert scores["score"].null_count < scores.num_rows
    moved = channels.move(store, "champion", RELEASE, "ops", "back", 48.0, DAY)
    assert (moved.sequence, channels.read(store, "champion").release_id) == (2, RELEASE)


def test_a_plan_of_the_first_version_is_what_would_be_planned_today(store: Store) -> None:
    plan = read_plan(store, PLAN)
    config = plan_config(plan)
    assert read_statements(store, plan, "feedback")["verdict"].to_pylist() == ["anomaly"]
    today = draft(store, config)
    assert (today.schema_version, today.kinds) == (PLAN_VERSION, plan.kinds)
    # The frozen table has the columns of its version; everything else is what it was.
    assert same_inputs(replace(plan, feedback=today.feedback), today)


def test_feedback_of_the_first_version_is_taken_back_by_that_of_today(store: Store) -> None:
    (first,) = statements.read_feedback(store).to_pylist()
    later = first["recorded_at"] + timedelta(hours=1)
    row = {**first, "verdict": RETRACTED, "recorded_at": later, "retracts": first["feedback_id"]}
    row["feedback_id"] = feedback_id(row)
    assert in_force(statements.read_feedback(store)).num_rows == 1
    statements.append_feedback(store, pa.Table.from_pylist([row], schema=FEEDBACK.schema))
    assert in_force(statements.read_feedback(store)).num_rows == 0


@pytest.mark.parametrize("key", READERS)
def test_the_next_major_version_is_refused_by_name(store: Store, key: str) -> None:
    READERS[key](store)
    document = store.get_json(key)
    store.put(key, readable_json({**document, "schema_version": "2.0"}))
    with pytest.raises(BadInput) as refused:
        READERS[key](store)
    assert str(refused.value) == (
        f"{store.uri}/{key} has schema_version 2.0; this fleetalign reads 1.x; install a fleetalign that knows it"
    )


def test_a_plan_of_the_next_minor_version_is_read_and_its_settings_refused(store: Store) -> None:
    document = store.get_json(layout.plan(PLAN))
    document |= {"schema_version": "1.99", "field_of_tomorrow": 1}
    document["config"]["align"]["setting_of_tomorrow"] = 1
    store.put(layout.plan(PLAN), json.dumps(document).encode())
    plan = read_plan(store, PLAN)
    with pytest.raises(
        ConfigError, match=r"unknown setting 'setting_of_tomorrow'.*another fleetalign made this plan; make a new"
    ):
        plan_config(plan)
    assert not same_inputs(plan, draft(store, plan_config(read_plan(open_store(str(FIRST)), PLAN))))


def test_feedback_of_the_next_minor_version_keeps_what_is_known_of_it(store: Store) -> None:
    (before,) = statements.read_feedback(store).to_pylist()
    (part,) = [info.key for info in store.list(layout.FEEDBACK)]
    table = statements.from_parquet(store.get(part), part)
    store.put(part, statements.to_parquet(table.append_column("column_of_tomorrow", pa.array(["x"]))))
    assert statements.read_feedback(store).to_pylist() == [before]
