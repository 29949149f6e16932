"""The exported graph in onnxruntime: parity with torch, the invariances of contracts 3.3, and what its bytes tell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.config import ModelConfig
from fleetalign.contracts.golden import RELATIVE_FLOOR
from fleetalign.contracts.graph import PROFILE, ROLES, Graph, margins, with_profile
from fleetalign.model.network import Detector

W = ModelConfig().window_steps
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(scope="module")
def graph(exported):
    return Graph(exported)


@pytest.fixture(scope="module")
def profile_graph(exported):
    return Graph(with_profile(exported))


def windows(seed, batch, metrics, missing=0.1):
    """Feeds with gaps, muted metrics and a jump in some windows."""
    random = np.random.default_rng(seed)
    z = np.sin(np.arange(W) / random.uniform(2, 20, (batch, metrics, 1))) + 0.2 * random.normal(
        size=(batch, metrics, W)
    )
    z[random.random((batch, metrics)) < 0.1, -1] += 30
    location = random.uniform(-1e6, 1e6, (batch, metrics))
    scale = 10 ** random.uniform(-3, 3, (batch, metrics))
    values = location[..., None] + scale[..., None] * z
    values[random.random(values.shape) < missing] = np.nan
    return {
        "values": values,
        "location": location,
        "scale": scale,
        "weight": (random.random((batch, metrics)) > 0.1).astype(np.float32),
        "condition": random.integers(2, W + 1, batch).astype(np.int32),
        "threshold": random.uniform(0, 1, batch).astype(np.float32),
    }


def assert_close(given, expected, unit):
    np.testing.assert_array_equal(np.isnan(given), np.isnan(expected))
    gaps = np.abs(given.astype(np.float64) - expected) / unit
    assert not (gaps > 1e-5).any(), f"relative difference {np.nanmax(gaps):.2e}"


def unit_of(scored):
    """Scores and margins are compared relative to the larger of both (contracts.golden)."""
    size = np.maximum(np.nan_to_num(np.abs(scored.score)), np.nan_to_num(np.abs(scored.margin)))
    return np.maximum(size, RELATIVE_FLOOR)


def assert_same_scores(given, expected):
    unit = unit_of(expected)
    assert_close(given.score, expected.score, unit)
    assert_close(given.margin, expected.margin, unit)


def columns(feeds, order):
    return feeds | {name: feeds[name][:, order] for name in ("values", "location", "scale", "weight")}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("batch", "metrics"), [(1, 1), (1, 5), (2, 1), (7, 8), (64, 5), (3, 60)])
@pytest.mark.parametrize("missing", [0.0, 0.1, 0.7, 1.0])
def test_parity_with_torch(trained, profile_graph, device, batch, metrics, missing):
    feeds = windows(batch + metrics, batch, metrics, missing)
    detector = Detector(trained.network, W, ModelConfig().clip).eval().to(device)
    with torch.no_grad():
        outputs = detector(*(torch.from_numpy(feeds[name]).to(device) for name in profile_graph.inputs))
    score, margin, contribution, profile = (o.cpu().numpy() for o in outputs)
    trained.network.cpu()
    scored = profile_graph.run(feeds)
    unit = unit_of(scored)
    assert_close(score, scored.score, unit)
    assert_close(margin, scored.margin, unit)
    assert_close(contribution, scored.contribution, 1.0)
    largest = np.nan_to_num(profile).max(axis=1)
    assert_close(profile, profile_graph.profile(feeds), np.maximum(unit, largest)[:, None])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 4), metrics=st.integers(1, 12), padding=st.integers(1, 20))
def test_padding_changes_nothing(graph, seed, batch, metrics, padding):
    feeds = windows(seed, batch, metrics)
    fills = {"values": np.nan, "location": 0.0, "scale": 1.0, "weight": 0.0}
    padded = feeds | {
        name: np.pad(feeds[name], [(0, 0), (0, padding), (0, 0)][: feeds[name].ndim], constant_values=fill)
        for name, fill in fills.items()
    }
    plain, given = graph.run(feeds), graph.run(padded)
    assert_same_scores(given, plain)
    assert_close(given.contribution[:, :metrics], plain.contribution, 1.0)
    assert (given.contribution[:, metrics:] == 0).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 4), metrics=st.integers(1, 12), data=st.data())
def test_permuting_metrics_permutes_contributions(graph, seed, batch, metrics, data):
    feeds, order = windows(seed, batch, metrics), data.draw(st.permutations(range(metrics)))
    plain, given = graph.run(feeds), graph.run(columns(feeds, order))
    assert_same_scores(given, plain)
    assert_close(given.contribution, plain.contribution[:, order], 1.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), batch=st.integers(2, 9))
def test_a_window_scores_the_same_alone_and_in_a_batch(graph, seed, batch):
    feeds = windows(seed, batch, 4)
    together = graph.run(feeds)
    for row in range(batch):
        alone = graph.run({name: array[row : row + 1] for name, array in feeds.items()})
        assert_close(alone.score, together.score[row : row + 1], unit_of(alone))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 6), metrics=st.integers(1, 9), missing=st.floats(0, 1))
def test_shares_are_not_negative_and_sum_to_one_or_there_is_no_score(graph, seed, batch, metrics, missing):
    feeds = windows(seed, batch, metrics, missing)
    scored = graph.run(feeds)
    usable = (feeds["weight"] > 0) & ~np.isnan(feeds["values"][:, :, -1])
    assert (scored.contribution >= 0).all()
    assert (scored.contribution[~usable] == 0).all()
    np.testing.assert_allclose(scored.contribution.sum(axis=1), usable.any(axis=1), atol=1e-5)
    np.testing.assert_array_equal(np.isnan(scored.score), ~usable.any(axis=1))
    np.testing.assert_array_equal(np.isnan(scored.margin), ~usable.any(axis=1))


def test_a_muted_metric_is_neither_scored_nor_seen(graph):
    feeds = windows(1, 5, 4, missing=0.0)
    feeds["weight"][:] = [0, 1, 1, 1]
    muted = graph.run(feeds)
    feeds["values"][:, 0] = 1e15
    assert_same_scores(graph.run(feeds), muted)
    assert_same_scores(graph.run(columns(feeds, [1, 2, 3])), muted)


def test_margin_is_score_minus_context_minus_threshold(profile_graph):
    feeds = windows(4, 40, 5)
    profile, scored = profile_graph.profile(feeds), profile_graph.run(feeds)
    for condition in (2, 3, 50, W):
        feeds["condition"][:] = condition
        given = profile_graph.run(feeds).margin
        assert_close(given, margins(profile, condition) - feeds["threshold"], unit_of(scored))


def test_inputs_and_outputs_are_the_roles(exported):
    model = onnx.load_model_from_string(exported)

    def described(values):
        return {
            v.name: (
                onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name,
                tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim),
            )
            for v in values
        }

    expected = {
        name: (ROLES[name][0], tuple(W if a == "window" else a for a in ROLES[name][1])) for name in list(ROLES)[:6]
    }
    assert described(model.graph.input) == expected
    assert described(model.graph.output) == {
        "score": ("float32", ("batch",)),
        "margin": ("float32", ("batch",)),
        "contribution": ("float32", ("batch", "metric")),
    }
    assert PROFILE in {name for node in model.graph.node for name in node.output}


def test_small_standard_and_without_traces(exported):
    model = onnx.load_model_from_string(exported)
    onnx.checker.check_model(model, full_check=True)
    assert len(exported) <= 700_000
    assert {entry.domain for entry in model.opset_import} == {""}, "only operators that every runtime knows"
    assert not model.producer_name and not model.producer_version and not model.functions
    assert not list(model.metadata_props) + list(model.graph.metadata_props)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    text = exported.lower()
    for trace in (
        b".py",
        b"site-packages",
        b"pkg.torch",
        b"torch.",
        b"pytorch",
        b'file "',
        os.getcwd().encode().lower(),
    ):
        assert trace not in text, trace


EXPORT = """
import sys, torch
import fleetalign
from fleetalign.config import ModelConfig
from fleetalign.model.export import export
from fleetalign.model.network import ShareAD
assert fleetalign.__file__.startswith(sys.argv[1]), fleetalign.__file__
torch.manual_seed(0)
open(sys.argv[2], "wb").write(export(ShareAD(100, 8), ModelConfig()))
"""


def test_two_checkouts_give_the_same_bytes(tmp_path, repository):
    """Other folders, other working directories, other hash seeds."""
    processes = []
    for name, hash_seed in (("a", "1"), ("another/much-longer-place", "2")):
        checkout = tmp_path / name
        shutil.copytree(repository / "tasks" / "fleetalign", checkout / "tasks" / "fleetalign")
        environment = os.environ | {"PYTHONPATH": str(checkout / "tasks"), "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", EXPORT, str(checkout), str(checkout / "model.onnx")]
        processes.append((checkout, subprocess.Popen(command, env=environment, cwd=checkout, stderr=subprocess.PIPE)))
    exports = []
    for checkout, process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
        exports.append((checkout / "model.onnx").read_bytes())
    assert exports[0] == exports[1]
    for trace in (str(tmp_path).encode(), b"much-longer-place", str(repository).encode()):
        assert trace not in exports[0]
