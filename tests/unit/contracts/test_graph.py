"""Running a graph by role: which inputs it has, of which sizes, and its internal values."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from fleetalign.contracts.golden import cases
from fleetalign.contracts.graph import Graph, expose, margins
from fleetalign.errors import BadInput
from fleetalign.testing.graphs import toy_golden, toy_model

WINDOW = 8

STATEFUL = """<ir_version: 8, opset_import: ["" : 18]>
stateful (double[batch,metric,16] values, float[batch,3] state)
 => (float[batch] score, float[batch] margin, float[batch,metric] contribution, float[batch,3] next_state)
<int64[1] axis1 = {1}, int64[1] axis2 = {2}>
{
  values_float = Cast<to = 1>(values)
  contribution = ReduceSum<keepdims = 0>(values_float, axis2)
  score = ReduceSum<keepdims = 0>(contribution, axis1)
  margin = ReduceSum<keepdims = 0>(state, axis1)
  next_state = Identity(state)
}
"""


def fixed_sizes(text: str) -> bytes:
    return onnx.parser.parse_model(text).SerializeToString()


@pytest.fixture(scope="module")
def feeds() -> dict[str, np.ndarray]:
    return cases(toy_golden(toy_model(WINDOW), WINDOW, 3))[-1]["inputs"]


def test_a_graph_of_any_window_has_no_size_of_its_own(feeds) -> None:
    graph = Graph(toy_model(WINDOW))
    assert (graph.window_steps, graph.sizes) == (0, {})
    assert graph.run(feeds).state is None


def test_fixed_sizes_are_known_by_their_axis() -> None:
    graph = Graph(fixed_sizes(STATEFUL))
    assert graph.window_steps == 16
    assert graph.sizes == {"window": 16, "state": 3}
    assert graph.inputs == ("values", "state")
    found = graph.run({"values": np.ones((2, 4, 16)), "state": np.arange(6.0).reshape(2, 3), "weather": None})
    assert found.state.tolist() == [[0, 1, 2], [3, 4, 5]] and found.margin.tolist() == [3, 12]
    assert found.contribution.shape == (2, 4)


def test_internal_values_become_outputs_and_the_published_ones_stay(feeds) -> None:
    model = toy_model(WINDOW)
    plain, exposed = Graph(model), Graph(expose(model))
    assert exposed.outputs == (*plain.outputs, "profile")
    profile = exposed.values(("profile",), feeds)[0]
    assert profile.shape == (len(feeds["condition"]), WINDOW)
    for name in ("score", "margin", "contribution"):
        np.testing.assert_array_equal(getattr(exposed.run(feeds), name), getattr(plain.run(feeds), name))
    scored = plain.run(feeds)
    for row, condition in enumerate(feeds["condition"]):
        if np.isfinite(scored.margin[row]):
            expected = margins(profile[row : row + 1], condition)[0] - feeds["threshold"][row]
            assert scored.margin[row] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_what_a_graph_has_not_is_not_exposed() -> None:
    model = fixed_sizes(STATEFUL)
    assert Graph(expose(model)).outputs == Graph(model).outputs


def test_a_graph_that_the_runtime_cannot_read_is_rejected_with_the_version_it_needs() -> None:
    model = onnx.load_model_from_string(toy_model(8))
    model.ir_version = 99
    with pytest.raises(BadInput, match=rf"onnxruntime {onnxruntime.__version__} cannot read .*IR version: 99.*newer"):
        Graph(model.SerializeToString())
