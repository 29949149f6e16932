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
from fleetalign.plan.draft import draft, write_plan
from fleetalign.plan.realign import same_inputs
from fleetalign.release.verify import verify
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import channel as channels
from fleetalign.storage import lake, layout, statements
from fleetalign.storage.connect import open_store
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store
from fleetalign.testing.releases import toy_telemetry

FIRST = Path(__file__).parent / "store-1.0"
PLAN, RELEASE = "cba866a6e88d0159", "28e1334f771859b6"
PLANS = {"1.0": PLAN, "1.1": "11de24f350813366", "1.2": "6632b2648170db68"}
"""Version to plan of the first store's telemetry, as the fleetalign of that version wrote it."""
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
    folder = shutil.copytree(FIRST, tmp_path / "store")
    return open_store(str(shutil.copytree(Path(__file__).parent / "plans-1.x", folder, dirs_exist_ok=True)))


def test_a_release_of_the_first_version_serves_and_can_be_moved_to(store: Store) -> None:
    assert verify(store, RELEASE) == []
    (telemetry,) = lake.read_parts(store, lake.list_partitions(store, "validated")[0])
    scorer = Scorer.open(store)
    scores = scorer.score(telemetry)
    assert scores.num_rows == telemetry.num_rows
    assert set(scores["reason"].to_pylist()) == {"warming_up", "short_history"}, (
        "its rows are 30 minutes apart, its step is 60 s"
    )
    assert scorer.score(toy_telemetry("service", "a", 48))["score"].null_count == 7
    moved = channels.move(store, "champion", RELEASE, "ops", "back", 48.0, DAY)
    assert (moved.sequence, channels.read(store, "champion").release_id) == (2, RELEASE)


@pytest.mark.parametrize(("version", "plan_id"), PLANS.items())
def test_an_upgrade_trains_no_model_of_a_plan_again(store: Store, version: str, plan_id: str) -> None:
    plan = read_plan(store, plan_id)
    assert plan.schema_version == version
    config = plan_config(plan)
    assert write_plan(store, config)[0] not in PLANS.values(), "nothing is trained yet"
    store.put(layout.receipt(plan_id, "pretrain"), b"{}")
    assert write_plan(store, config) == (plan_id, plan)
    other = replace(config, model=replace(config.model, seed=12))
    assert write_plan(store, other)[0] != plan_id


def test_a_plan_1_that_trained_on_a_labelled_anomaly_is_planned_again(store: Store) -> None:
    document = store.get_json(layout.plan(PLAN))
    (statement,) = statements.read_feedback(store).to_pylist()
    ranges = document["kinds"]["service"]["ranges"]
    ranges["train"]["end"], ranges["calibrate"]["start"] = "2026-03-11T12:00:00Z", "2026-03-11T16:00:00Z"
    store.put(layout.plan(PLAN), readable_json(document))
    assert read_plan(store, PLAN).kinds["service"].ranges.train.end > statement["start"]
    store.put(layout.receipt(PLAN, "pretrain"), b"{}")
    assert write_plan(store, plan_config(read_plan(store, PLAN)))[0] not in PLANS.values()


@pytest.mark.parametrize(("version", "plan_id"), PLANS.items())
def test_the_settings_of_a_plan_1_are_read_under_the_names_of_today(store: Store, version: str, plan_id: str) -> None:
    document = store.get_json(layout.plan(plan_id))
    old = document["config"]
    network = "views" if old["model"]["network"] == "views" else "sharead"
    for section, name, value in (
        ("training", "patience", 7),
        ("align", "tail_probability_count", 9),
        ("align", "default_condition", 6),
        ("align", "smoothings", [0.5]),
        ("model", "latent_size", 3),
        ("gates", "shift_seeds", 2),
    ):
        old[section][name] = value
    store.put(layout.plan(plan_id), readable_json(document))
    config = plan_config(read_plan(store, plan_id))
    assert (config.training.research.patience, config.align.grid.tail_probability_count) == (7, 9)
    own = {"views": ((0.5,), 11, 8), "sharead": ((0.3, 1.0), 6, 3)}[network]
    assert (config.align.grid.smoothings, config.align.grid.default_condition, config.model.sharead.latent_size) == own


def test_a_plan_of_the_first_version_is_what_would_be_planned_today(store: Store) -> None:
    plan = read_plan(store, PLAN)
    config = plan_config(plan)
    assert read_statements(store, plan, "feedback")["verdict"].to_pylist() == ["anomaly"]
    today = draft(store, config)
    # Feedback moved the cut between its ranges then; it moves none now.
    ranges = {kind: entry.ranges for kind, entry in plan.kinds.items()}
    kinds = {kind: replace(entry, ranges=ranges[kind]) for kind, entry in today.kinds.items()}
    assert (today.schema_version, kinds) == (PLAN_VERSION, plan.kinds)
    assert all(today.kinds[kind].ranges.train.end > before.train.end for kind, before in ranges.items())
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
    next_major, known = ("3.0", "1.x and 2.x") if key.startswith(layout.PLANS) else ("2.0", "1.x")
    store.put(key, readable_json({**document, "schema_version": next_major}))
    with pytest.raises(BadInput) as refused:
        READERS[key](store)
    assert str(refused.value) == (
        f"{store.uri}/{key} has schema_version {next_major}; this fleetalign reads {known}; "
        "install a fleetalign that knows it"
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
