from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fleetalign.contracts.golden import GOLDEN, cases, to_table, worst_difference
from fleetalign.contracts.graph import Graph
from fleetalign.contracts.tables import from_parquet, to_parquet
from fleetalign.errors import BadInput
from fleetalign.testing.graphs import toy_golden, toy_model

WINDOW = 8


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph(toy_model(WINDOW))


@pytest.fixture
def golden() -> list[dict]:
    return cases(toy_golden(toy_model(WINDOW), WINDOW, 3))


def test_arrays_come_back_exactly_through_parquet(golden: list[dict]) -> None:
    again = cases(from_parquet(to_parquet(to_table(golden)), "golden"))
    assert [case["case"] for case in again] == [case["case"] for case in golden] == ["batch_1", "batch_2", "batch_7"]
    for left, right in zip(again, golden, strict=True):
        for side in ("inputs", "outputs"):
            assert left[side].keys() == right[side].keys()
            for name in left[side]:
                assert left[side][name].dtype == right[side][name].dtype
                np.testing.assert_array_equal(left[side][name], right[side][name])


def test_a_graph_repeats_its_own_vectors_exactly(graph: Graph, golden: list[dict]) -> None:
    assert worst_difference(graph, to_table(golden)) == 0.0
    assert any(np.isnan(case["outputs"]["score"]).any() for case in golden), "no empty row among the vectors"


@pytest.mark.parametrize("name", ["score", "margin", "contribution"])
def test_a_wrong_output_is_seen(graph: Graph, golden: list[dict], name: str) -> None:
    output = golden[1]["outputs"][name]
    output.flat[0] += np.float32(1e-3)
    assert 1e-6 < worst_difference(graph, to_table(golden)) < 1.0


def test_difference_is_relative_to_the_score_with_a_floor(graph: Graph, golden: list[dict]) -> None:
    score, margin = (golden[0]["outputs"][name] for name in ("score", "margin"))
    unit = max(abs(score[0]), abs(margin[0]))
    score[0] += np.float32(0.125)
    assert worst_difference(graph, to_table(golden[:1])) == pytest.approx(0.125 / max(unit, abs(score[0])), rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_beside_a_number_is_infinitely_wrong(graph: Graph, golden: list[dict], value: float) -> None:
    golden[0]["outputs"]["score"][0] = value
    assert not worst_difference(graph, to_table(golden)) <= 1e-5


def test_a_number_where_nan_was_recorded_is_infinitely_wrong(graph: Graph, golden: list[dict]) -> None:
    empty = np.flatnonzero(np.isnan(golden[2]["outputs"]["score"]))
    golden[2]["outputs"]["score"][empty] = 0.0
    assert worst_difference(graph, to_table(golden)) == np.inf


def test_another_shape_is_infinitely_wrong(graph: Graph, golden: list[dict]) -> None:
    golden[1]["outputs"]["score"] = golden[1]["outputs"]["score"][:1]
    golden[1]["outputs"]["margin"] = golden[1]["outputs"]["margin"][:1]
    assert worst_difference(graph, to_table(golden)) == np.inf


def test_an_empty_table_verifies_nothing(graph: Graph) -> None:
    with pytest.raises(BadInput, match="no case"):
        worst_difference(graph, GOLDEN.empty())


def test_data_that_does_not_fill_its_shape_is_named() -> None:
    row = {"case": "c", "tensor": "values", "role": "input", "dtype": "float64", "shape": [2, 2], "data": [1.0]}
    with pytest.raises(BadInput, match="'c', tensor 'values'"):
        cases(pa.Table.from_pylist([row], schema=GOLDEN.schema))


def test_the_toy_graph_keeps_contract_3(graph: Graph) -> None:
    """Its numbers restated in numpy: forward fill, else location; weighted mean; margin against C - 1 positions."""
    for case in cases(toy_golden(toy_model(WINDOW), WINDOW, 4, seed=9)):
        feeds, expected = case["inputs"], case["outputs"]
        for b in range(len(feeds["condition"])):
            values = feeds["values"][b].copy()
            usable = (feeds["weight"][b] > 0) & np.isfinite(values[:, -1])
            if not usable.any():
                assert np.isnan(expected["score"][b]) and np.isnan(expected["margin"][b])
                continue
            for m in range(len(values)):
                for j in range(WINDOW):
                    if np.isnan(values[m, j]):
                        values[m, j] = values[m, j - 1] if j else feeds["location"][b, m]
            z = (values - feeds["location"][b, :, None]) / feeds["scale"][b, :, None]
            error = (z[usable] ** 2).mean(axis=0)
            c = feeds["condition"][b]
            margin = error[-1] - error[WINDOW - c : WINDOW - 1].max() - feeds["threshold"][b]
            assert expected["score"][b] == pytest.approx(error[-1], rel=1e-5)
            assert expected["margin"][b] == pytest.approx(margin, rel=1e-5, abs=1e-5)
            assert expected["contribution"][b].sum() == pytest.approx(1.0, rel=1e-5)
            assert (expected["contribution"][b][~usable] == 0).all()
