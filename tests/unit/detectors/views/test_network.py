"""The views detector: chains of states, its parameters, and the whole of it restated in plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.config import ModelConfig, TrainingConfig, ViewsConfig
from fleetalign.contracts.graph import Graph, expose
from fleetalign.detectors.registry import detector
from fleetalign.detectors.views.network import Forecaster, Inputs, smooth
from fleetalign.detectors.views.period import reference
from fleetalign.detectors.views.roles import STATE_SIZE, STATISTICS, reference_lags

STEPS = 40


@pytest.fixture(scope="module")
def graph(views) -> Graph:
    return Graph(expose(views.exported))


def history(graph: Graph, seed: int, metrics: int = 4, missing: float = 0.1, smoothing: float | None = None) -> dict:
    """Feeds of one entity's consecutive windows, some of them silent; its numbers are the same in every row."""
    random = np.random.default_rng(seed)
    window, lags = graph.window_steps, graph.sizes.get("lag", 0)
    z = np.cumsum(random.normal(size=(STEPS + window - 1, metrics)), axis=0) / 3
    z[random.random(z.shape) < missing] = np.nan
    z[window + random.integers(0, STEPS - 1, 5)] = np.nan  # silent rows
    location, scale = random.uniform(-1e3, 1e3, metrics), 10 ** random.uniform(-2, 2, metrics)
    fleet = np.tile(random.uniform(0.1, 1.0, 5), (metrics, 1))
    fleet[:, -1] = random.uniform(0.2, 1.0) if smoothing is None else smoothing
    own = random.uniform(0.1, 1.0, (metrics, 4)) * [1, 1, random.choice([-1, 1]), 1]
    seasonal = random.normal(size=(STEPS, metrics, lags))
    seasonal[random.random(seasonal.shape) < missing] = np.nan
    seasonal[::7] = np.nan
    windows = np.lib.stride_tricks.sliding_window_view(location + scale * z, window, axis=0)
    return {
        "values": windows,
        "location": np.tile(location, (STEPS, 1)),
        "scale": np.tile(scale, (STEPS, 1)),
        "weight": np.ones((STEPS, metrics), dtype=np.float32),
        "condition": np.zeros(STEPS, dtype=np.int32),
        "threshold": np.full(STEPS, 0.5, dtype=np.float32),
        "seasonal": location[:, None] + scale[:, None] * seasonal,
        "statistics": np.tile(np.concatenate([own, fleet], axis=1).astype(np.float32), (STEPS, 1, 1)),
        "state": np.zeros((STEPS, STATE_SIZE), dtype=np.float32),
    }


def rows(feeds: dict, at) -> dict:
    return {name: array[at] for name, array in feeds.items()}


def chained(feeds: dict, state: np.ndarray) -> dict:
    """``feeds`` as consecutive samples after ``state`` [S]."""
    states = np.full((len(feeds["threshold"]), STATE_SIZE), np.nan, dtype=np.float32)
    states[0] = state
    return feeds | {"state": states}


def in_pieces(graph: Graph, feeds: dict, cuts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and states of ``feeds`` given to the graph in pieces, each after the state that the piece before left."""
    state, scores, states = np.zeros(STATE_SIZE, dtype=np.float32), [], []
    for at in np.split(np.arange(len(feeds["threshold"])), cuts):
        if len(at):
            found = graph.run(chained(rows(feeds, at), state))
            state = found.state[-1]
            scores.append(found.score)
            states.append(found.state)
    return np.concatenate(scores), np.concatenate(states)


def assert_same(given, expected):
    np.testing.assert_allclose(given[0], expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(given[1], expected[1], rtol=1e-5, atol=1e-5)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31), cuts=st.lists(st.integers(1, STEPS - 1), max_size=5), missing=st.sampled_from([0, 0.3])
)
def test_step_by_step_equals_chunks_equals_bulk(graph, seed, cuts, missing):
    feeds = history(graph, seed, missing=missing)
    bulk = in_pieces(graph, feeds, [])
    assert np.isnan(bulk[0]).any() and np.isfinite(bulk[0]).any()
    assert_same(in_pieces(graph, feeds, sorted(cuts)), bulk)
    assert_same(in_pieces(graph, feeds, list(range(1, STEPS))), bulk)


def joined(parts: list[dict]) -> dict:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), lengths=st.lists(st.integers(1, STEPS), min_size=2, max_size=4))
def test_entities_chained_in_one_batch_do_not_mix(graph, seed, lengths):
    random = np.random.default_rng(seed)
    parts = [
        chained(rows(history(graph, seed + i), slice(0, n)), random.uniform(0.1, 1, STATE_SIZE).astype(np.float32))
        for i, n in enumerate(lengths)
    ]
    together = graph.run(joined(parts))
    at = 0
    for part, length in zip(parts, lengths, strict=True):
        alone = graph.run(part)
        mine = slice(at, at + length)
        assert_same((together.score[mine], together.state[mine]), (alone.score, alone.state))
        np.testing.assert_allclose(together.contribution[mine], alone.contribution, atol=1e-5)
        at += length


@pytest.mark.parametrize("silence", ["missing", "muted"])
def test_a_silent_row_leaves_the_state(graph, silence):
    feeds = history(graph, 3, missing=0.0)
    spoken = rows(feeds, np.flatnonzero(np.isfinite(feeds["values"][:, :, -1]).any(axis=1)))
    quiet = rows(spoken, np.repeat(np.arange(10), 3))
    silent = np.arange(30) % 3 != 0  # twice after each sample
    if silence == "missing":
        quiet["values"] = np.where(silent[:, None, None], np.nan, quiet["values"])
    else:
        quiet["weight"] = np.where(silent[:, None], 0, quiet["weight"]).astype(np.float32)
    for pieces in ([], list(range(1, 30))):
        score, state = in_pieces(graph, quiet, pieces)
        expected = in_pieces(graph, rows(spoken, slice(0, 10)), [])
        assert np.isnan(score[silent]).all()
        assert_same((score[~silent], state[~silent]), expected)
        assert_same((score[~silent], state[1::3]), expected)
        assert_same((score[~silent], state[2::3]), expected)


def test_the_first_row_of_a_batch_has_nothing_before_it(graph):
    """A state of NaN there says nothing: it is taken as zeros, never as NaN scores."""
    feeds = history(graph, 5)
    nothing = graph.run(chained(feeds, np.full(STATE_SIZE, np.nan, dtype=np.float32)))
    zeros = graph.run(chained(feeds, np.zeros(STATE_SIZE, dtype=np.float32)))
    np.testing.assert_array_equal(nothing.score, zeros.score)
    np.testing.assert_array_equal(nothing.state, zeros.state)


def test_the_first_sample_counts_fully(graph):
    """Whatever the smoothing: there is nothing to smooth it with."""
    first = {
        a: graph.run(rows(history(graph, 9, missing=0.0, smoothing=a), slice(0, 1))).score for a in (0.2, 0.5, 1.0)
    }
    np.testing.assert_allclose(first[0.2], first[1.0], rtol=1e-5)
    np.testing.assert_allclose(first[0.5], first[1.0], rtol=1e-5)


def test_a_smoothing_of_one_has_no_memory(graph):
    feeds = history(graph, 7, smoothing=1.0)
    alone = graph.run(feeds)  # every row from a state of zeros
    bulk = graph.run(chained(feeds, np.full(STATE_SIZE, 1e3, dtype=np.float32)))
    np.testing.assert_allclose(bulk.score, alone.score, rtol=1e-5)
    smoothed = graph.run(chained(history(graph, 7, smoothing=0.3), np.zeros(STATE_SIZE, dtype=np.float32)))
    assert np.nanmax(np.abs(smoothed.score - alone.score)) > 0.1


@settings(max_examples=60)
@given(
    views=st.lists(st.floats(0, 100, width=32), min_size=1, max_size=30),
    smoothing=st.floats(0.2, 1.0),
    silent=st.integers(0, 2**30 - 1),
    before=st.floats(0, 1, width=32),
)
def test_smoothing_is_the_recurrence(views, smoothing, silent, before):
    speaks = [not silent >> i & 1 for i in range(len(views))]
    state = torch.full((len(views), 2), math.nan)
    state[0] = torch.tensor([7.0 * before, before])
    found, after = smooth(
        torch.tensor(views)[:, None],
        torch.tensor([[smoothing if s else 0.0] for s in speaks]),
        torch.tensor(speaks)[:, None],
        state,
    )
    total, weight = 7.0 * before, before
    for i, view in enumerate(views):
        if speaks[i]:
            total, weight = (1 - smoothing) * total + smoothing * view, (1 - smoothing) * weight + smoothing
            assert found[i, 0].item() == pytest.approx(total / weight, rel=1e-4, abs=1e-5)
        assert after[i].tolist() == pytest.approx([total, weight], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("blocks", "parameters"), [(2, 21_164), (0, 2_252)])
def test_parameter_counts(blocks, parameters):
    assert sum(p.numel() for p in Forecaster(32, blocks).parameters()) == parameters


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_both_sides_at_once_are_the_forecasts_of_each_alone(blocks):
    torch.manual_seed(blocks)
    network = Forecaster(16, blocks).eval()
    recent, side = torch.randn(9, 15), torch.randn(9, 9)
    known = (torch.arange(9) % 3 > 0).float()[:, None]
    nothing, one = torch.zeros(9, 1), torch.ones(9, 1)
    side = side * known
    with torch.no_grad():
        both = network.both(recent, side, known)
        first = network(torch.cat([recent, torch.zeros_like(side), one, nothing], dim=-1))
        second = network(torch.cat([torch.zeros_like(recent), side, nothing, known], dim=-1))
    torch.testing.assert_close(both, torch.cat([first, second]), rtol=1e-5, atol=1e-6)


def test_a_kind_without_a_period_has_no_seasonal_input(views, graph):
    seasonal = views.trained.network.period_steps is not None
    assert ("seasonal" in graph.inputs) == seasonal == (views.name == "views")
    assert {"statistics", "state"} <= set(graph.inputs)
    off = detector("views").network(ModelConfig(views=ViewsConfig(seasonality=False)), None)
    assert off.lags == () and "seasonal" not in off.inputs


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), metrics=st.integers(1, 8), missing=st.floats(0, 1))
def test_contributions_are_shares_of_usable_metrics(graph, seed, metrics, missing):
    feeds = chained(history(graph, seed, metrics, missing), np.zeros(STATE_SIZE, dtype=np.float32))
    found = graph.run(feeds)
    usable = np.isfinite(feeds["values"][:, :, -1])
    assert (found.contribution >= 0).all() and (found.contribution[~usable] == 0).all()
    np.testing.assert_allclose(found.contribution.sum(axis=1), usable.any(axis=1), atol=1e-5)


def test_the_metric_that_leaves_its_forecast_is_blamed(graph):
    feeds = history(graph, 4, missing=0.0)
    feeds["values"] = np.repeat(feeds["location"][:, :, None], graph.window_steps, axis=2)
    feeds["values"][:, 2, -1] += 15 * feeds["scale"][:, 2]
    assert (graph.run(feeds).contribution.argmax(axis=1) == 2).all()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), period=st.sampled_from([12, 24, 50, 100]), missing=st.sampled_from([0.0, 0.2, 0.9]))
def test_the_reference_of_the_graph_is_that_of_seasonality(seed, period, missing):
    """Where a position has no earlier sample the graph shows no reference at all."""
    random = np.random.default_rng(seed)
    references = reference_lags(period)
    lags = tuple(sorted({lag for mine in references for lag in mine}))
    z = random.normal(size=(4 * period + 30, 2))
    z[random.random(z.shape) < missing] = np.nan
    expected = reference(np.arcsinh(np.clip(z, -20, 20)), period)
    location, scale = np.array([3.0, -1e6]), np.array([0.5, 1e3])
    raw = location + scale * z
    ends = random.integers(20, len(z), 30)
    at = ends[:, None] - np.array(lags)
    seasonal = np.where((at >= 0)[:, :, None], raw[np.maximum(at, 0)], np.nan).transpose(0, 2, 1)
    given, shown = Inputs(20.0, lags, references).reference(
        torch.from_numpy(seasonal),
        torch.from_numpy(np.tile(location, (30, 1))),
        torch.from_numpy(np.tile(scale, (30, 1))),
    )
    theirs = expected[ends[:, None] + np.arange(-8, 1)].transpose(0, 2, 1)
    whole = np.isfinite(theirs).all(axis=2, keepdims=True)
    np.testing.assert_array_equal(shown.numpy() == 1, whole)
    np.testing.assert_allclose(given.numpy(), np.where(whole, theirs, 0), atol=1e-5)


def test_training_sees_what_the_graph_sees(views):
    """The panel that is compressed once for training, against the graph's own preparation of raw windows."""
    network, panel, window = views.trained.network, views.panel, views.window_steps
    values = panel.values.copy()
    random = np.random.default_rng(2)
    values[random.random(values.shape) < 0.1] = np.nan
    values[0, :60] = np.nan
    holed = type(panel)(**{f: getattr(panel, f) for f in panel.__dataclass_fields__} | {"values": values})
    training = network.detector.training(network, views.model, TrainingConfig())
    source = training.batches(holed, views.location, views.scale, (512, None))
    entity = random.integers(0, len(values), 50)
    end = random.integers(window - 1, values.shape[1], 50)
    given = source.gather(entity, end)
    location, scale = torch.from_numpy(views.location[entity]), torch.from_numpy(views.scale[entity])
    windows = values[entity[:, None], end[:, None] + np.arange(1 - window, 1)].transpose(0, 2, 1)
    _, c, present = network.published.inputs.recent(torch.from_numpy(windows), location, scale)
    torch.testing.assert_close(given["c"], c, rtol=1e-5, atol=1e-6)
    assert torch.equal(given["usable"], present[..., -1])
    assert ("reference" in given) == bool(network.lags)
    if network.lags:
        at = end[:, None] - np.array(network.lags)
        lagged = np.where((at >= 0)[:, :, None], values[entity[:, None], np.maximum(at, 0)], np.nan)
        theirs, known = network.published.inputs.reference(torch.from_numpy(lagged.transpose(0, 2, 1)), location, scale)
        assert torch.equal(given["known"], known) and 0 < known.mean() < 1
        torch.testing.assert_close(given["reference"], theirs, rtol=1e-5, atol=1e-5)


# The whole detector once more, in float64 numpy and loops, from docs/method.md and contracts 3.


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def normalised(x, weights, name):
    centred = x - x.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def forecast(x, weights, blocks):
    y = linear(x, weights, "embed")
    for i in range(blocks):
        wide = linear(normalised(y, weights, f"blocks.{i}.norm"), weights, f"blocks.{i}.widen")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        y = y + linear(wide, weights, f"blocks.{i}.narrow")
    return (linear(normalised(y, weights, "norm"), weights, "out") + linear(x, weights, "skip"))[0]


def restated(example, feeds):
    """Score, state and contribution of every row, each row going on from the state of ``feeds`` or of the row before."""
    network = example.trained.network
    weights = {name: tensor.double().numpy() for name, tensor in network.module.state_dict().items()}
    references = reference_lags(example.trained.network.period_steps) if network.lags else ()
    out = []
    state = None
    for row in range(len(feeds["threshold"])):
        state = feeds["state"][row].astype(float) if np.isfinite(feeds["state"][row]).all() else state
        values, location, scale = (feeds[name][row] for name in ("values", "location", "scale"))
        heeded = [m for m in range(len(location)) if feeds["weight"][row, m] > 0]
        usable = [m for m in heeded if np.isfinite(values[m, -1])]
        if not usable:
            out.append((np.nan, state, np.zeros(len(location))))
            continue
        z = np.clip((values - location[:, None]) / scale[:, None], -20, 20)
        direction = {m: float(feeds["statistics"][row, m, 2]) for m in usable}
        along = sum(direction[m] * z[m, -1] for m in usable) / max(sum(u * u for u in direction.values()), 1e-12)
        parts = np.zeros((len(location), 4))
        for m in heeded:
            typical_recent, typical_seasonal, u, typical_residual, *fleet = feeds["statistics"][row, m].astype(float)
            if m not in usable:
                parts[m] = (
                    typical_recent / (typical_recent + 0.02),
                    np.log(1 + typical_seasonal / (typical_seasonal + 0.003)),
                    typical_residual / (typical_residual + 0.05),
                    typical_residual**2 * math.pi / 2,
                )
                continue
            c, seen = np.zeros(values.shape[1]), 0.0
            for i, sample in enumerate(z[m]):
                seen = np.arcsinh(sample) if np.isfinite(sample) else seen
                c[i] = seen
            blocks = example.model.views.blocks
            expected = forecast(np.concatenate([c[:-1], np.zeros(9), [1, 0]]), weights, blocks)
            earlier = np.zeros(9)
            known = bool(references)
            if references:
                lagged = np.clip((feeds["seasonal"][row, m] - location[m]) / scale[m], -20, 20)
                by_lag = dict(zip(network.lags, np.arcsinh(lagged), strict=True))
                seen_lags = [[by_lag[lag] for lag in lags if np.isfinite(by_lag[lag])] for lags in references]
                known = all(seen_lags)
                earlier = np.array([np.mean(s) for s in seen_lags]) if known else earlier
            again = forecast(np.concatenate([np.zeros(len(c) - 1), earlier, [0, known]]), weights, blocks)
            # Without an earlier period, in a kind that has one, the sample is ordinary.
            seasonal = (c[-1] - again) ** 2 if known or not references else typical_seasonal
            residual = z[m, -1] - u * along
            parts[m] = (
                abs(c[-1] - expected) / (typical_recent + 0.02),
                np.log(1 + seasonal / (typical_seasonal + 0.003)),
                abs(residual) / (typical_residual + 0.05),
                residual**2,
            )
        share = np.where(np.isin(np.arange(len(location)), heeded), feeds["weight"][row], 0).astype(float)
        share = np.where(np.isin(np.arange(len(location)), usable), share, share / 2)
        parts *= (share / share.sum())[:, None]
        views = parts.sum(axis=0)
        *view_weights, a = fleet
        state = (1 - a) * state + a * np.array([*views, 1.0])
        smoothed = state[:4] / state[4]
        score = sum(w * np.log(1 + s) for w, s in zip(view_weights, smoothed, strict=True))
        blame = sum(parts[:, v] * view_weights[v] * np.log(1 + views[v]) / max(views[v], 1e-12) for v in range(4))
        blame = np.where(np.isin(np.arange(len(location)), usable), blame, 0)
        out.append((score, state, blame / blame.sum()))
    return tuple(np.array(column) for column in zip(*out, strict=True))


def test_a_metric_that_falls_silent_lends_its_weight_to_no_other(graph):
    feeds = rows(history(graph, 3, 4, 0.0), slice(0, 40))
    feeds["weight"] = np.ones_like(feeds["weight"])
    feeds["values"] = feeds["values"].copy()
    feeds["values"][:, 0] += 1e9  # one metric stands far out of place throughout
    whole = graph.run(feeds).score
    feeds["values"][:, 1:3, -1] = np.nan
    less = graph.run(feeds).score
    heard = np.isfinite(whole)
    assert heard.sum() > 20 and (less[heard] < whole[heard] + 0.4).all()


@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), metrics=st.integers(1, 4), missing=st.sampled_from([0.0, 0.1, 0.5]))
def test_agrees_with_the_equations(views, graph, seed, metrics, missing):
    random = np.random.default_rng(seed)
    feeds = rows(history(graph, seed, metrics, missing), slice(0, 12))
    feeds["weight"] = random.choice([0.0, 1.0, 2.0], (12, metrics), p=[0.1, 0.7, 0.2]).astype(np.float32)
    feeds = chained(feeds, random.uniform(0.1, 1.0, STATE_SIZE).astype(np.float32))
    feeds["state"][7] = random.uniform(0.1, 1.0, STATE_SIZE)  # another entity's chain begins
    score, state, contribution = restated(views, feeds)
    found = graph.run(feeds)
    np.testing.assert_allclose(found.score, score, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.margin, score - feeds["threshold"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.state, state, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.contribution, contribution, atol=1e-5)


def test_the_statistics_are_named_in_the_graphs_order():
    assert STATISTICS == (
        "recent_error", "seasonal_error", "direction", "residual",
        "weight_recent", "weight_seasonal", "weight_residual", "weight_residual_square", "smoothing",
    )  # fmt: skip
