from __future__ import annotations

import numpy as np
import onnx
import pytest

from fleetalign.config import ModelConfig
from fleetalign.contracts import golden as contract
from fleetalign.contracts.tables import from_parquet, to_parquet
from fleetalign.model.golden import PADDING, golden_vectors, verify

W = ModelConfig().window_steps
METRICS = 5


@pytest.fixture(scope="module")
def golden(exported):
    return golden_vectors(exported, METRICS, W, seed=11)


def test_the_graph_agrees_with_its_own_vectors_through_parquet(exported, golden):
    assert verify(exported, from_parquet(to_parquet(golden), "golden")) == 0.0


def test_same_graph_and_seed_same_bytes(exported, golden):
    assert to_parquet(golden_vectors(exported, METRICS, W, seed=11)) == to_parquet(golden)
    assert to_parquet(golden_vectors(exported, METRICS, W, seed=12)) != to_parquet(golden)


def test_every_corner_is_there(golden):
    found = {case["case"]: case for case in contract.cases(golden)}
    sizes = {name: case["inputs"]["values"].shape[:2] for name, case in found.items()}
    assert {batch for batch, _ in sizes.values()} == {1, 2, 7, 64}
    assert {metrics for _, metrics in sizes.values()} == {1, METRICS, METRICS + PADDING}
    inputs = [case["inputs"] for case in found.values()]
    assert any((i["weight"][:, 0] == 0).all() for i in inputs), "a muted metric"
    assert any(np.isnan(i["values"]).all(axis=(1, 2)).any() for i in inputs), "a row without any sample"
    assert any(np.isnan(i["values"][:, :, : W // 3]).all(axis=(1, 2)).any() for i in inputs), "a leading gap"
    assert not np.isnan(found["complete"]["inputs"]["values"]).any()
    conditions = np.concatenate([i["condition"] for i in inputs])
    assert (conditions.min(), conditions.max()) == (2, W)
    scores = np.concatenate([case["outputs"]["score"] for case in found.values()])
    margins = np.concatenate([case["outputs"]["margin"] for case in found.values()])
    assert np.isnan(scores).any() and (margins > 0).any() and (margins < 0).any()


@pytest.mark.parametrize("metrics", [1, 2, 40])
def test_any_catalogue_size(exported, metrics):
    assert verify(exported, golden_vectors(exported, metrics, W, seed=0)) == 0.0


def test_a_graph_with_one_changed_weight_is_noticed(exported, golden):
    model = onnx.load_model_from_string(exported)
    bias = next(i for i in model.graph.initializer if i.name.endswith("reconstruct.bias"))
    changed = onnx.numpy_helper.to_array(bias).copy()
    changed[-1] += 1e-3
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    assert verify(model.SerializeToString(), golden) > 1e-5
