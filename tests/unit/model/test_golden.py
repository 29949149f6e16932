from __future__ import annotations

import numpy as np
import onnx
import pytest

from fleetalign.contracts import golden as contract
from fleetalign.contracts.graph import Graph
from fleetalign.contracts.tables import from_parquet, to_parquet
from fleetalign.model.golden import PADDING, golden_vectors, verify

METRICS = 5


@pytest.fixture(scope="module")
def golden(example):
    return golden_vectors(example.exported, METRICS, seed=11)


def test_the_graph_agrees_with_its_own_vectors_through_parquet(example, golden):
    assert verify(example.exported, from_parquet(to_parquet(golden), "golden")) == 0.0


def test_same_graph_and_seed_same_bytes(example, golden):
    assert to_parquet(golden_vectors(example.exported, METRICS, seed=11)) == to_parquet(golden)
    assert to_parquet(golden_vectors(example.exported, METRICS, seed=12)) != to_parquet(golden)


def test_every_corner_is_there(example, golden):
    window = example.window_steps
    found = {case["case"]: case for case in contract.cases(golden)}
    sizes = {name: case["inputs"]["values"].shape[:2] for name, case in found.items() if name != "chained"}
    assert {batch for batch, _ in sizes.values()} == {1, 2, 7, 64}
    assert {metrics for _, metrics in sizes.values()} == {1, METRICS, METRICS + PADDING}
    inputs = [case["inputs"] for case in found.values()]
    assert any((i["weight"][:, 0] == 0).all() for i in inputs), "a muted metric"
    assert any(np.isnan(i["values"]).all(axis=(1, 2)).any() for i in inputs), "a row without any sample"
    assert any(np.isnan(i["values"][:, :, : window // 3]).all(axis=(1, 2)).any() for i in inputs), "a leading gap"
    assert not np.isnan(found["complete"]["inputs"]["values"]).any()
    conditions = np.concatenate([i["condition"] for i in inputs])
    assert (conditions.min(), conditions.max()) == (2, window)
    scores = np.concatenate([case["outputs"]["score"] for case in found.values()])
    margins = np.concatenate([case["outputs"]["margin"] for case in found.values()])
    assert np.isnan(scores).any() and (margins > 0).any()
    assert (margins < 0).any() or example.name != "sharead"
    assert ("chained" in found) == (example.name != "sharead")
    assert all(("seasonal" in i) == (example.name == "views") for i in inputs)
    assert all(case["inputs"].keys() == set(Graph(example.exported).inputs) for case in found.values())


def test_a_chained_case_says_what_a_row_of_nan_state_means(views):
    """Its outputs are those of the same windows one by one, each fed what the one before returned."""
    case = next(c for c in contract.cases(golden_vectors(views.exported, METRICS, seed=11)) if c["case"] == "chained")
    graph, inputs, state = Graph(views.exported), case["inputs"], case["inputs"]["state"][:1]
    assert np.isnan(inputs["state"][1:]).all() and np.isnan(case["outputs"]["score"]).sum() == 1
    for row in range(len(inputs["state"])):
        one = graph.run({name: array[row : row + 1] for name, array in inputs.items()} | {"state": state})
        state = one.state
        np.testing.assert_allclose(one.score, case["outputs"]["score"][row : row + 1], rtol=1e-5)
        np.testing.assert_allclose(state, case["outputs"]["next_state"][row : row + 1], rtol=1e-5, atol=1e-7)


def test_a_wrong_next_state_is_noticed(views):
    golden = contract.cases(golden_vectors(views.exported, METRICS, seed=11))
    golden[0]["outputs"]["next_state"][0, 1] *= 1.01
    assert verify(views.exported, contract.to_table(golden)) > 1e-4


@pytest.mark.parametrize("metrics", [1, 2, 40])
def test_any_catalogue_size(example, metrics):
    assert verify(example.exported, golden_vectors(example.exported, metrics, seed=0)) == 0.0


def test_a_graph_with_one_changed_weight_is_noticed(example, golden):
    model = onnx.load_model_from_string(example.exported)
    bias = next(i for i in model.graph.initializer if i.name.endswith(("reconstruct.bias", "out.bias")))
    changed = onnx.numpy_helper.to_array(bias).copy()
    changed[-1] += 1e-3
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    assert verify(model.SerializeToString(), golden) > 1e-5
