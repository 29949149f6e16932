"""Runs of the real DAG files over recorded steps: keys, events, refusals, names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from fleetalign import steps
from fleetalign.errors import GateRefused, PartitionHeld, StoreError
from fleetalign.interval import Interval

DAY = Interval.parse("2026-03-02", "2026-03-03")
KEY = "2026-03-02"
RELEASE_ID = "0123456789abcdef"

Run = Callable[..., Any]


class Recorder:
    """Stands in for one step: remembers its arguments, gives a fixed answer or raises."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, config: Any, store_uri: str, *arguments: Any, **named: Any) -> Any:
        assert store_uri == "memory://dags"
        self.calls.append((arguments, named))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(*arguments) if callable(self.answer) else self.answer


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], Recorder]:
    def replace(name: str, answer: Any) -> Recorder:
        recorder = Recorder(answer)
        monkeypatch.setattr(steps, name, recorder)
        return recorder

    return replace


def state(run: Any, task_id: str) -> str:
    return str(next(ti.state for ti in run.get_task_instances() if ti.task_id == task_id))


def events(asset: str) -> list[Any]:
    """Stored events of one asset, oldest first."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        return list(session.scalars(query.where(AssetModel.name == asset).order_by(AssetEvent.id)))


def run_ids(dag_id: str) -> set[str]:
    """Stored runs of one DAG."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return set(session.scalars(select(DagRun.run_id).where(DagRun.dag_id == dag_id)))


@pytest.mark.parametrize(
    ("dag_id", "name", "asset"),
    [
        ("telemetry_ingest", "ingest", "telemetry_raw"),
        ("telemetry_validate", "validate", "telemetry_validated"),
    ],
)
def test_key_becomes_the_interval_and_result_the_event(
    run: Run, step: Callable[[str, Any], Recorder], dag_id: str, name: str, asset: str
) -> None:
    recorder = step(name, {"rows": 5})
    finished = run(dag_id, KEY)
    assert finished.state == "success"
    assert recorder.calls == [((DAY,), {})]
    assert events(asset)[-1].extra == {"rows": 5}
    assert events(asset)[-1].partition_key == KEY


@pytest.mark.parametrize(("dag_id", "name"), [("telemetry_ingest", "ingest"), ("telemetry_validate", "validate")])
def test_a_run_without_key_is_red_and_does_nothing(
    run: Run, step: Callable[[str, Any], Recorder], dag_id: str, name: str
) -> None:
    recorder = step(name, {})
    assert run(dag_id).state == "failed"
    assert not recorder.calls


def test_a_held_partition_wakes_nobody(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    step("validate", PartitionHeld("held"))
    before = len(events("telemetry_validated"))
    finished = run("telemetry_validate", KEY)
    assert finished.state == "failed"
    assert len(events("telemetry_validated")) == before


def test_a_store_error_waits_for_its_retry(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    recorder = step("ingest", StoreError("no network"))
    answers = iter([StoreError("no network")])
    recorder.answer = lambda *_: (_ for _ in ()).throw(next(answers)) if len(recorder.calls) == 1 else {}
    assert run("telemetry_ingest", KEY).state == "success"
    assert len(recorder.calls) == 2


def test_nothing_due_starts_nothing(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    step("pretrain_due", None)
    finished = run("pretrain_due", "fleet")
    assert finished.state == "success"
    assert state(finished, "start") == "skipped"


DRIFTED = {"release_id": RELEASE_ID, "day": KEY, "drifted": True, "findings": ["web new_share: 0.5, limit 0.2"]}


def test_drift_is_checked_before_a_pretrain_is_due(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    drift, due = step("drift", DRIFTED), step("pretrain_due", None)
    finished = run("drift_check")
    assert finished.state == "success", "a finding is no failure"
    assert [len(drift.calls), len(due.calls)] == [1, 1]
    assert (state(finished, "due"), state(finished, "start")) == ("success", "skipped")


def test_nothing_is_due_where_nothing_is_served(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    step("drift", None)
    due = step("pretrain_due", {"snapshot": "s", "why": "w"})
    finished = run("drift_check")
    assert (finished.state, state(finished, "due"), state(finished, "start")) == ("success", "skipped", "skipped")
    assert not due.calls


@pytest.mark.parametrize(("dag_id", "key"), [("pretrain_due", "fleet"), ("drift_check", None)])
def test_a_due_pretrain_is_started_by_the_id_of_its_snapshot(
    run: Run, step: Callable[[str, Any], Recorder], dag_id: str, key: str | None
) -> None:
    step("drift", DRIFTED)
    step("pretrain_due", {"snapshot": f"snapshot_{dag_id}", "why": "it drifted"})
    assert state(run(dag_id, key), "start") == "success"
    assert f"due__snapshot_{dag_id}" in run_ids("shared_pretrain")


def test_pretrain_runs_in_order_and_hands_on_one_plan(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    step("plan", {"plan_id": "p1"})
    snapshot = step("snapshot", {"revision": "r"})
    trained = {"plan_id": "p1", "models": {"service": "m"}, "normalizer_id": "n"}
    pretrain = step("pretrain", trained)
    assert run("shared_pretrain", conf={"force": True}).state == "success"
    assert snapshot.calls == [(("p1",), {})]
    assert pretrain.calls == [(("p1",), {"force": True})]
    assert events("shared_model")[-1].extra == trained
    assert events("shared_model")[-1].partition_key is None


def test_align_maps_shards_with_names_and_reduces_once(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    plan = step("plan", {"plan_id": "p1"})
    step("shards", [{"index": 0, "label": "0: service a … k (2)"}, {"index": 1, "label": "1: database x"}])
    shard = step("align_shard", {"sha256": "s"})
    reduce = step("align_reduce", {"aligner_id": "a"})
    before = len(events("aligner_table"))
    finished = run("entity_align")
    assert finished.state == "success"
    assert plan.calls == [((), {"reuse_model": True})]
    assert sorted(arguments for arguments, _ in shard.calls) == [("p1", 0), ("p1", 1)]
    assert reduce.calls == [(("p1",), {})]
    names = {ti.map_index: ti.rendered_map_index for ti in finished.get_task_instances() if ti.task_id == "align_shard"}
    assert names == {0: "0: service a … k (2)", 1: "1: database x"}
    assert len(events("aligner_table")) == before + 1


def test_release_takes_the_newest_aligned_plan(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    newest = step("latest", "p7")
    release = step("release", {"release_id": RELEASE_ID})
    promote = step("promote", {"promoted": True})
    finished = run("release_promote")
    assert finished.state == "success"
    assert newest.calls == [(("align_reduce",), {})]
    assert release.calls == [(("p7",), {})]
    assert promote.calls[0][0] == (RELEASE_ID,)
    assert {k: promote.calls[0][1][k] for k in ("channel", "force")} == {"channel": "champion", "force": False}
    assert promote.calls[0][1]["by"]
    assert events("release")[-1].extra == {"release_id": RELEASE_ID}


def test_a_refusal_is_red_and_is_not_tried_again(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    step("latest", "p7")
    step("release", {"release_id": RELEASE_ID})
    promote = step("promote", GateRefused("coverage 0.4 is below 0.9"))
    finished = run("release_promote")
    assert finished.state == "failed"
    assert state(finished, "release") == "success"
    assert len(promote.calls) == 1


def test_release_without_any_table_is_red(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    step("latest", None)
    release = step("release", {})
    assert run("release_promote").state == "failed"
    assert not release.calls


def test_rollback_form_reaches_the_step(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    rollback = step("rollback", {"sequence": 3})
    conf = {"release": RELEASE_ID, "channel": "challenger", "reason": "too many pages tonight"}
    assert run("release_rollback", conf=conf).state == "success"
    named = rollback.calls[0][1]
    assert (named["release_id"], named["channel"], named["why"]) == (RELEASE_ID, "challenger", conf["reason"])


def test_rollback_without_release_means_the_one_before(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    rollback = step("rollback", {"sequence": 3})
    assert run("release_rollback", conf={"reason": "too many pages tonight"}).state == "success"
    assert rollback.calls[0][1]["release_id"] is None


def test_rollback_refuses_a_misspelt_key(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    rollback = step("rollback", {})
    conf = {"reason": "too many pages tonight", "relaese": RELEASE_ID}
    assert run("release_rollback", conf=conf).state == "failed"
    assert not rollback.calls


def refused_by_the_form(dag: Any, conf: dict[str, Any]) -> None:
    from airflow.sdk.definitions.param import ParamsDict
    from airflow.sdk.exceptions import ParamValidationError

    form = ParamsDict({name: copy.deepcopy(dag.params.get_param(name)) for name in dag.params})
    with pytest.raises(ParamValidationError):
        form.update(conf)
        form.validate()


@pytest.mark.parametrize(
    "conf",
    [{}, {"reason": "short"}, {"reason": "long enough", "channel": "prod"}, {"reason": "long enough", "release": "x"}],
    ids=["no reason", "short reason", "unknown channel", "no release id"],
)
def test_rollback_form_refuses(dags: dict[str, Any], conf: dict[str, Any]) -> None:
    refused_by_the_form(dags["release_rollback"], conf)


def test_scoring_takes_the_interval_of_its_key(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    score = step("score", {"alarms": 0})
    assert run("fleet_scoring", KEY).state == "success"
    assert score.calls == [((DAY,), {})]


def test_gc_is_a_dry_run_unless_told(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    collect = step("collect_garbage", {"objects": 0})
    assert run("storage_gc").state == "success"
    assert run("storage_gc", conf={"dry_run": False, "min_age_hours": 5}).state == "success"
    assert [named for _, named in collect.calls] == [
        {"dry_run": True, "min_age_hours": 168},
        {"dry_run": False, "min_age_hours": 5},
    ]


WORD = {"entity": "web/a", "start": "2026-03-02T01:00:00Z", "end": "2026-03-02T02:00:00Z", "verdict": "false_alarm"}


def test_the_operators_form_reaches_the_step_with_who_said_it(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    add, collect = step("add_feedback", {"new": 1}), step("collect_feedback", {"new": 0})
    finished = run("operator_feedback", conf=WORD)
    assert finished.state == "success"
    ((arguments, named),) = add.calls
    assert arguments == (WORD,)
    assert named["by"]
    assert len(collect.calls) == 1


def test_an_empty_form_only_looks_into_the_inbox(run: Run, step: Callable[[str, Any], Recorder]) -> None:
    add, collect = step("add_feedback", {}), step("collect_feedback", {"new": 2})
    finished = run("operator_feedback")
    assert (finished.state, state(finished, "add_feedback")) == ("success", "skipped")
    assert (len(add.calls), len(collect.calls)) == (0, 1)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({**WORD, "entitty": "web/a"}, "unknown field entitty; the form has"),
        (
            {"entity": "web/a", "verdict": "normal"},
            "name an entity with its start and end, an attribute with these, or a page",
        ),
        ({"note": "it was nothing"}, "the verdict is ''; must be one of"),
        (WORD, "no telemetry of an entity 'web/a'"),
    ],
    ids=["misspelt", "half filled in", "no verdict", "nobody"],
)
def test_the_operators_form_refuses_with_a_sentence(
    run: Run, capsys: pytest.CaptureFixture[str], conf: dict[str, Any], message: str
) -> None:
    finished = run("operator_feedback", conf=conf)
    assert state(finished, "add_feedback") == "failed"
    assert state(finished, "collect_feedback") == "success"
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    "conf",
    [{"start": "yesterday"}, {"verdict": "maybe"}, {"entity": ""}],
    ids=["no time", "unknown verdict", "nobody"],
)
def test_the_operators_form_refuses_by_its_schema(dags: dict[str, Any], conf: dict[str, Any]) -> None:
    refused_by_the_form(dags["operator_feedback"], conf)
