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

from fleetalign.config import ModelConfig, ShareADConfig
from fleetalign.contracts.golden import RELATIVE_FLOOR, STATE_FLOOR
from fleetalign.contracts.graph import INTERNALS, OUTPUTS, ROLES, Graph, expose, margins, versions
from fleetalign.detectors.detector import Network
from fleetalign.detectors.registry import detector
from fleetalign.detectors.views.roles import STATISTICS
from fleetalign.model import export as export_module
from fleetalign.model import traces
from fleetalign.model.export import OPSET

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(scope="module")
def graph(example):
    return Graph(example.exported)


@pytest.fixture(scope="module")
def exposed(example):
    return Graph(expose(example.exported))


def windows(graph, seed, batch, metrics, missing=0.1):
    """Feeds with gaps, muted metrics and a jump in some windows."""
    W = graph.window_steps
    random = np.random.default_rng(seed)
    z = np.sin(np.arange(W) / random.uniform(2, 20, (batch, metrics, 1))) + 0.2 * random.normal(
        size=(batch, metrics, W)
    )
    z[random.random((batch, metrics)) < 0.1, -1] += 30
    location = random.uniform(-1e6, 1e6, (batch, metrics))
    scale = 10 ** random.uniform(-3, 3, (batch, metrics))
    values = location[..., None] + scale[..., None] * z
    values[random.random(values.shape) < missing] = np.nan
    beside = {}
    if "seasonal" in graph.inputs:
        shape = (batch, metrics, graph.sizes["lag"])
        beside["seasonal"] = location[..., None] + scale[..., None] * random.normal(size=shape)
        beside["seasonal"][random.random(shape) < missing] = np.nan
    if "statistics" in graph.inputs:
        fleet = random.uniform(0.2, 1.0, (batch, 1, len(STATISTICS) - 4))
        own = random.uniform(0.1, 1.0, (batch, metrics, 4)) * random.choice([-1, 1], (batch, metrics, 1)) ** [
            0,
            0,
            1,
            0,
        ]
        beside["statistics"] = np.concatenate([own, np.repeat(fleet, metrics, axis=1)], axis=2).astype(np.float32)
        # What comes from an earlier sample: sums of weighted views and of weights.
        weight = random.uniform(0.2, 1.0, (batch, 1))
        sums = weight * random.uniform(0.1, 3.0, (batch, graph.sizes["state"] - 1))
        beside["state"] = np.concatenate([sums, weight], axis=1).astype(np.float32)
    return beside | {
        "values": values,
        "location": location,
        "scale": scale,
        "weight": (random.random((batch, metrics)) > 0.1).astype(np.float32),
        "condition": random.integers(2, W + 1, batch).astype(np.int32),
        "threshold": random.uniform(0, 1, batch).astype(np.float32),
    }


def assert_close(given, expected, unit):
    np.testing.assert_array_equal(np.isnan(given), np.isnan(expected))
    gaps = np.nan_to_num(np.abs(given.astype(np.float64) - expected) / unit)
    assert gaps.max(initial=0.0) <= 1e-5


def unit_of(scored):
    """Scores and margins are compared relative to the larger of both (contracts.golden)."""
    size = np.maximum(np.nan_to_num(np.abs(scored.score)), np.nan_to_num(np.abs(scored.margin)))
    return np.maximum(size, RELATIVE_FLOOR)


def assert_same_scores(given, expected):
    unit = unit_of(expected)
    assert_close(given.score, expected.score, unit)
    assert_close(given.margin, expected.margin, unit)


def columns(feeds, order):
    return feeds | {name: array[:, order] for name, array in feeds.items() if ROLES[name][1][1:2] == ("metric",)}


def torch_outputs(example, feeds, device="cpu"):
    """What the torch module says, by name."""
    network = example.trained.network
    graph = network.published.eval().to(device)
    with torch.no_grad():
        outputs = graph(*(torch.from_numpy(feeds[name]).to(device) for name in network.inputs))
    graph.cpu()
    return {
        n: o.cpu().numpy()
        for n, o in zip((*network.detector.outputs, *network.detector.internals), outputs, strict=True)
    }


def assert_parity(example, exposed, feeds, device="cpu"):
    theirs = torch_outputs(example, feeds, device)
    scored = exposed.run(feeds)
    unit = unit_of(scored)
    assert_close(theirs["score"], scored.score, unit)
    assert_close(theirs["margin"], scored.margin, unit)
    assert_close(theirs["contribution"], scored.contribution, 1.0)
    if scored.state is not None:
        assert_close(theirs["next_state"], scored.state, np.maximum(np.abs(scored.state), STATE_FLOOR))
    for name in example.trained.network.detector.internals:
        given = exposed.values((name,), feeds)[0]
        largest = np.nan_to_num(np.abs(given)).max(axis=1, keepdims=True)
        assert_close(theirs[name], given, np.maximum(np.maximum(unit[:, None], largest), STATE_FLOOR))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("batch", "metrics"), [(1, 1), (1, 5), (2, 1), (7, 8), (64, 5), (3, 60)])
@pytest.mark.parametrize("missing", [0.0, 0.1, 0.7, 1.0])
def test_parity_with_torch(example, exposed, device, batch, metrics, missing):
    assert_parity(example, exposed, windows(exposed, batch + metrics, batch, metrics, missing), device)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 9), metrics=st.integers(1, 9), missing=st.floats(0, 1))
def test_parity_with_torch_on_anything(example, exposed, seed, batch, metrics, missing):
    feeds = windows(exposed, seed, batch, metrics, missing)
    assert_parity(example, exposed, feeds)
    if "state" in feeds:
        feeds["state"][1:] = np.nan
        for name in ("location", "scale", "statistics"):
            feeds[name][:] = feeds[name][:1]
        assert_parity(example, exposed, feeds)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 4), metrics=st.integers(1, 12), padding=st.integers(1, 20))
def test_padding_changes_nothing(graph, seed, batch, metrics, padding):
    feeds = windows(graph, seed, batch, metrics)
    fills = {"values": np.nan, "location": 0.0, "scale": 1.0, "weight": 0.0, "seasonal": np.nan, "statistics": 0.0}
    padded = feeds | {
        name: np.pad(array, [(0, 0), (0, padding), (0, 0)][: array.ndim], constant_values=fills[name])
        for name, array in feeds.items()
        if name in fills
    }
    plain, given = graph.run(feeds), graph.run(padded)
    assert_same_scores(given, plain)
    assert_close(given.contribution[:, :metrics], plain.contribution, 1.0)
    assert (given.contribution[:, metrics:] == 0).all()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 4), metrics=st.integers(1, 12), data=st.data())
def test_permuting_metrics_permutes_contributions(graph, seed, batch, metrics, data):
    feeds, order = windows(graph, seed, batch, metrics), data.draw(st.permutations(range(metrics)))
    plain, given = graph.run(feeds), graph.run(columns(feeds, order))
    assert_same_scores(given, plain)
    assert_close(given.contribution, plain.contribution[:, order], 1.0)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), batch=st.integers(2, 9))
def test_a_window_scores_the_same_alone_and_in_a_batch(graph, seed, batch):
    feeds = windows(graph, seed, batch, 4)
    together = graph.run(feeds)
    for row in range(batch):
        alone = graph.run({name: array[row : row + 1] for name, array in feeds.items()})
        assert_close(alone.score, together.score[row : row + 1], unit_of(alone))
        if alone.state is not None:
            np.testing.assert_allclose(alone.state, together.state[row : row + 1], rtol=1e-5, atol=1e-6)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 6), metrics=st.integers(1, 9), missing=st.floats(0, 1))
def test_shares_are_not_negative_and_sum_to_one_or_there_is_no_score(graph, seed, batch, metrics, missing):
    feeds = windows(graph, seed, batch, metrics, missing)
    scored = graph.run(feeds)
    usable = (feeds["weight"] > 0) & ~np.isnan(feeds["values"][:, :, -1])
    assert (scored.contribution >= 0).all()
    assert (scored.contribution[~usable] == 0).all()
    np.testing.assert_allclose(scored.contribution.sum(axis=1), usable.any(axis=1), atol=1e-5)
    np.testing.assert_array_equal(np.isnan(scored.score), ~usable.any(axis=1))
    np.testing.assert_array_equal(np.isnan(scored.margin), ~usable.any(axis=1))


def test_a_muted_metric_is_neither_scored_nor_seen(graph):
    feeds = windows(graph, 1, 5, 4, missing=0.0)
    feeds["weight"][:] = [0, 1, 1, 1]
    muted = graph.run(feeds)
    feeds["values"][:, 0] = 1e15
    for name in {"seasonal"} & set(feeds):
        feeds[name][:, 0] = -1e15
    assert_same_scores(graph.run(feeds), muted)
    assert_same_scores(graph.run(columns(feeds, [1, 2, 3])), muted)


def test_margin_is_score_minus_context_minus_threshold(sharead):
    exposed = Graph(expose(sharead.exported))
    feeds = windows(exposed, 4, 40, 5)
    (profile,), scored = exposed.values(("profile",), feeds), exposed.run(feeds)
    for condition in (2, 3, 50, sharead.window_steps):
        feeds["condition"][:] = condition
        given = exposed.run(feeds).margin
        assert_close(given, margins(profile, condition) - feeds["threshold"], unit_of(scored))


def test_margin_is_score_minus_threshold_whatever_the_condition(views):
    graph = Graph(views.exported)
    feeds = windows(graph, 4, 40, 5)
    scored = graph.run(feeds)
    np.testing.assert_array_equal(scored.margin, scored.score - feeds["threshold"])
    feeds["condition"][:] = 0
    np.testing.assert_array_equal(graph.run(feeds).margin, scored.margin)


def test_inputs_and_outputs_are_the_roles(example):
    model, network = onnx.load_model_from_string(example.exported), example.trained.network

    def described(values):
        return {
            v.name: (
                onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name,
                tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim),
            )
            for v in values
        }

    sizes = {"window": example.window_steps, "lag": len(network.lags), "statistic": 9, "state": 5}
    optional = {"sharead": (), "views": ("seasonal", "statistics", "state")}.get(example.name, ("statistics", "state"))
    assert described(model.graph.input) == {
        name: (ROLES[name][0], tuple(sizes.get(axis, axis) for axis in ROLES[name][1]))
        for name in (*list(ROLES)[:6], *optional)
    }
    outputs = ("score", "margin", "contribution", *(("next_state",) if "state" in optional else ()))
    assert described(model.graph.output) == {
        name: (OUTPUTS[name][0], tuple(sizes.get(axis, axis) for axis in OUTPUTS[name][1])) for name in outputs
    }
    exposed = {o.name for o in onnx.load_model_from_string(expose(example.exported)).graph.output}
    assert exposed == {*outputs, *network.detector.internals}
    assert set(network.detector.internals) <= set(INTERNALS)


def test_written_in_the_oldest_format_that_its_operators_allow(example):
    assert versions(example.exported) == (8, OPSET) == (8, 18)


def test_small_standard_and_without_traces(example):
    exported = example.exported
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
from fleetalign.config import ModelConfig, ShareADConfig
from fleetalign.model.export import export
from fleetalign.detectors.detector import Network
from fleetalign.detectors.registry import detector
assert fleetalign.__file__.startswith(sys.argv[1]), fleetalign.__file__
for name, model, period in (
    ("sharead", ModelConfig(network="sharead"), None),
    ("views", ModelConfig(window_steps=16), 24),
):
    torch.manual_seed(0)
    open(f"{sys.argv[1]}/{name}.onnx", "wb").write(export(detector(model.network).network(model, period), model.window_steps))
"""


def test_two_checkouts_give_the_same_bytes(tmp_path, repository):
    """Other folders, other working directories, other hash seeds."""
    processes = []
    for name, hash_seed in (("a", "1"), ("another/much-longer-place", "2")):
        checkout = tmp_path / name
        shutil.copytree(repository / "tasks" / "fleetalign", checkout / "tasks" / "fleetalign")
        environment = os.environ | {
            "PYTHONPATH": str(checkout / "tasks"),
            "PYTHONHASHSEED": hash_seed,
            "FLEETALIGN_TRACES": "",
        }
        command = [sys.executable, "-c", EXPORT, str(checkout)]
        processes.append((checkout, subprocess.Popen(command, env=environment, cwd=checkout, stderr=subprocess.PIPE)))
    exports = []
    for checkout, process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
        exports.append({path.name: path.read_bytes() for path in checkout.glob("*.onnx")})
    assert exports[0] == exports[1]
    assert len(exports[0]) == 2
    for exported in exports[0].values():
        for trace in (str(tmp_path).encode(), b"much-longer-place", str(repository).encode()):
            assert trace not in exported


def test_a_trace_is_used_for_other_weights_and_for_no_other_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing costs most of an export; what it gives depends on no weight."""
    traced = []
    program = export_module._program
    monkeypatch.delenv(traces.TRACES_VARIABLE, raising=False)
    traces.forget()
    monkeypatch.setattr(export_module, "_program", lambda *given: traced.append(given) or program(*given))

    def network(seed: int, **changes) -> Network:
        model = ModelConfig(network="sharead", window_steps=16, sharead=ShareADConfig(latent_size=3), **changes)
        torch.manual_seed(seed)
        return detector("sharead").network(model, None)

    first, second = (export_module.export(network(seed), 16) for seed in (1, 2))
    assert (len(traced), first != second) == (1, True)
    structure = export_module._structure(network(1), 16)
    assert structure == export_module._structure(network(2), 16)
    assert structure != export_module._structure(network(1, clip=5.0), 16), "a constant of the graph"
    assert structure != export_module._structure(network(1), 17)
    traces.forget()
    assert export_module.export(network(2), 16) == second, "as traced with its own weights"
