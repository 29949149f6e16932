from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fleetalign.contracts.golden import worst_difference
from fleetalign.contracts.graph import Graph
from fleetalign.contracts.hashing import files_id, sha256
from fleetalign.contracts.tables import NORMALIZER, fleet_parquet, from_parquet
from fleetalign.errors import BadInput, NotReproducible
from fleetalign.interval import Interval
from fleetalign.model import candidate, normalizer
from fleetalign.model.candidate import pretrain_kind, training_panel
from fleetalign.model.pretrain import normalizer_of
from fleetalign.storage import layout

FILES = ("model.onnx", "untrained.onnx", "golden.parquet", "card.json")


def card_of(store, model_id):
    return store.get_json(layout.model(model_id, "card.json"))


def published(store, model_id):
    return {name: store.get(layout.model(model_id, name)) for name in FILES}


@pytest.fixture(scope="module")
def export_once():
    """Exports are deterministic (test_export.py), so equal networks need only one."""
    made = {}

    def cached(network, window_steps):
        key = b"".join(tensor.numpy().tobytes() for tensor in network.module.state_dict().values())
        if key not in made:
            made[key] = real(network, window_steps)
        return made[key]

    real = candidate.export
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidate, "export", cached)
        yield


def test_a_candidate_is_complete_checkable_and_named_by_its_files(make_plan, small_config, export_once):
    store, plan = make_plan()
    made = pretrain_kind(store, plan, "p1", "web", small_config)
    files = published(store, made.model_id)
    assert made.model_id == files_id([{"name": name, "sha256": sha256(data)} for name, data in files.items()])
    assert len(list(store.list(f"models/{made.model_id}/"))) == len(FILES)
    graph, card = Graph(files["model.onnx"]), card_of(store, made.model_id)
    assert card["network"] == small_config.model.network
    assert card["inputs"] == list(graph.inputs)
    assert card["outputs"] == list(graph.outputs)
    assert card["state_size"] == graph.sizes.get("state")
    assert len(card["statistics_columns"]) == graph.sizes.get("statistic", 0)
    assert len(card["seasonal_lags_steps"]) == graph.sizes.get("lag", 0)
    assert card["condition_used"] == (card["network"] == "sharead")
    assert worst_difference(graph, from_parquet(files["golden.parquet"], "golden")) == 0.0
    assert card["training"]["weights_chosen_by"] == "validation_loss"
    assert len(card["training"]["curve"]) == 2
    table = made.numbers.table()
    assert normalizer.has(table, "web", "e002")
    assert set(card["statistics_columns"]) == set(table.schema.names) - set(NORMALIZER.schema.names)
    for name in card["statistics_columns"]:
        assert np.isfinite(table[name].to_numpy()).all()
    assert fleet_parquet(table) == normalizer_of([made])


def test_the_untrained_control_is_the_same_graph_with_other_weights(make_plan, small_config, export_once):
    store, plan = make_plan()
    files = published(store, pretrain_kind(store, plan, "p1", "web", small_config).model_id)
    assert files["untrained.onnx"] != files["model.onnx"]
    untrained, trained = Graph(files["untrained.onnx"]), Graph(files["model.onnx"])
    assert (untrained.inputs, untrained.outputs, untrained.sizes) == (trained.inputs, trained.outputs, trained.sizes)
    assert not worst_difference(untrained, from_parquet(files["golden.parquet"], "golden")) <= 1e-5


def test_the_card_tells_nothing_about_where_and_when(make_plan, small_config, export_once):
    store, plan = make_plan()
    card = card_of(store, pretrain_kind(store, plan, "some-plan", "web", small_config).model_id)
    assert not {"device", "threads", "checkpoint_every_batches"} & set(card["config"]["training"])
    assert {"learning_rate", "epochs"} <= set(card["config"]["training"])
    assert "some-plan" not in json.dumps(card) and "memory:" not in json.dumps(card)


def test_the_same_plan_gives_the_same_files_on_another_store(make_plan, small_config, export_once):
    (one, plan), (other, _) = make_plan(), make_plan()
    first = pretrain_kind(one, plan, "p1", "web", small_config)
    second = pretrain_kind(other, plan, "p1", "web", small_config)
    assert published(one, first.model_id) == published(other, second.model_id)
    assert normalizer_of([first]) == normalizer_of([second])


class Stopped(Exception):
    pass


# 5 batches an epoch, a checkpoint after batches 2 and 4 and at the epoch's end
@pytest.mark.parametrize(("stopped_at", "goes_on_with"), [(3, 3), (7, 6)])
def test_a_stopped_pretraining_goes_on_from_its_checkpoint_to_the_same_candidate(
    make_plan, small_config, export_once, stopped_at, goes_on_with
):
    store, plan = make_plan()

    def stop(done, total, what):
        if done == stopped_at:
            raise Stopped

    with pytest.raises(Stopped):
        pretrain_kind(store, plan, "p1", "web", small_config, progress=stop)
    assert store.exists(layout.checkpoint("p1", "web"))
    assert not list(store.list("models/")), "nothing is published before it is complete"
    done = []
    resumed = pretrain_kind(store, plan, "p1", "web", small_config, progress=lambda n, total, what: done.append(n))
    assert done[0] == goes_on_with
    fresh, _ = make_plan()
    undisturbed = pretrain_kind(fresh, plan, "p1", "web", small_config)
    assert published(store, resumed.model_id) == published(fresh, undisturbed.model_id)


def test_without_resume_the_checkpoint_is_not_read(make_plan, small_config, export_once):
    store, plan = make_plan()
    pretrain_kind(store, plan, "p1", "web", small_config)
    done = []
    pretrain_kind(store, plan, "p1", "web", small_config, progress=lambda n, *_: done.append(n), resume=False)
    assert done[0] == 1


def test_only_the_train_range_is_read(make_plan, small_config):
    store, plan = make_plan(train_steps=100)
    panel = training_panel(store, plan, "web", small_config)
    assert panel.values.shape == (3, 100, 2)
    assert np.isfinite(panel.values).all()


def test_less_than_a_window_names_kind_and_range(make_plan, small_config):
    store, plan = make_plan(train_steps=15)
    with pytest.raises(BadInput, match=r"'web', train range 2026-03-02T00:00:00Z to 2026-03-02T00:15:00Z.*16 steps"):
        pretrain_kind(store, plan, "p1", "web", small_config)
    store, plan = make_plan(train_steps=16)
    assert training_panel(store, plan, "web", small_config).values.shape[1] == 16


def test_no_telemetry_in_the_range_is_the_same_refusal(make_plan, small_config):
    store, plan = make_plan()
    kind = plan.kinds["web"]
    ranges = dataclasses.replace(kind.ranges, train=Interval.parse("2026-02-01", "2026-02-02"))
    plan = dataclasses.replace(plan, kinds={"web": dataclasses.replace(kind, ranges=ranges)})
    with pytest.raises(BadInput, match="web"):
        pretrain_kind(store, plan, "p1", "web", small_config)


def test_a_graph_that_fails_its_golden_vectors_is_not_published(make_plan, small_config, export_once, monkeypatch):
    store, plan = make_plan()
    monkeypatch.setattr(candidate, "verify", lambda model, golden: float("nan"))
    with pytest.raises(NotReproducible, match="web"):
        pretrain_kind(store, plan, "p1", "web", small_config)
    assert not list(store.list("models/"))
