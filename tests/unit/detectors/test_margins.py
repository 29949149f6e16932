"""Margins of every candidate against the graph itself, fed as a consumer feeds it: one sample after the other."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.config import AlignConfig, AlignGrid, ModelConfig, ShareADConfig
from fleetalign.contracts.graph import Graph, expose
from fleetalign.detectors.margins import BATCH, EntitySeries, GraphMargins, Margins
from fleetalign.detectors.registry import detector
from fleetalign.detectors.views.margins import ViewsMargins, combined, smooth
from fleetalign.detectors.views.roles import SETTLE_STEPS, STATE_SIZE

WINDOW, METRICS, PERIOD = 16, 3, 24
CONFIG = AlignConfig(grid=AlignGrid(conditions=(2, 6), tail_probability_count=5))


@functools.cache
def exported(network: str) -> tuple[tuple[int, ...], bytes]:
    """An untrained network's lags and graph; its weights are random, which is all the same here."""
    import torch

    from fleetalign.model.export import export

    model = ModelConfig(network=network.split()[0], window_steps=WINDOW)
    if network == "sharead":
        model = dataclasses.replace(model, sharead=ShareADConfig(latent_size=3))
    torch.manual_seed(4)
    made = detector(model.network).network(model, PERIOD if network == "views seasonal" else None)
    return made.lags, export(made, WINDOW)


@pytest.fixture(scope="module", params=["sharead", "views", "views seasonal"])
def network(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def signal(network) -> Margins:
    lags, model = exported(network)
    chosen = detector(network.split()[0])
    return chosen.margins(Graph(expose(model)), lags, chosen.grid(CONFIG, WINDOW))


@pytest.fixture(scope="module")
def graph(network) -> Graph:
    return Graph(exported(network)[1])


def series(seed: int, steps: int = 300, missing: float = 0.05, first: int = 0) -> EntitySeries:
    """Telemetry with gaps, silent samples, a muted metric for a while, and a metric that nobody normalized."""
    random = np.random.default_rng(seed)
    z = np.sin(np.arange(steps)[:, None] / 4 + random.uniform(0, 6, METRICS)) + 0.4 * random.normal(
        size=(steps, METRICS)
    )
    z[random.random(z.shape) < missing] = np.nan
    z[random.random(steps) < missing / 2] = np.nan
    z[:first] = np.nan
    location, scale = random.uniform(-1e4, 1e4, METRICS), 10 ** random.uniform(-2, 2, METRICS)
    weight = np.ones((steps, METRICS), dtype=np.float32)
    weight[steps // 2 : steps // 2 + 20, 0] = 0
    own = random.uniform(0.1, 1.0, (METRICS, 4))
    values = location + scale * z
    location[2] = scale[2] = np.nan
    return EntitySeries(values, weight, first, location, scale, np.concatenate([own, np.ones((METRICS, 5))], 1))


def sample(signal: Margins, one: EntitySeries, end: int, candidate) -> dict[str, np.ndarray]:
    """What a consumer feeds for the sample at ``end`` under ``candidate``: threshold 0, state left to the caller."""
    known = np.isfinite(one.location)
    statistics = one.statistics.astype(np.float32).copy()
    condition = 0
    if isinstance(candidate, tuple):
        statistics[:, 4:] = np.float32(candidate)
    else:
        condition = candidate
    earlier = end - np.array(getattr(signal, "lags", ()), dtype=np.int64)
    seasonal = np.where((earlier >= 0)[:, None], one.values[np.maximum(earlier, 0)], np.nan)
    return {
        "values": np.concatenate([np.full((WINDOW, METRICS), np.nan), one.values])[end + 1 : end + 1 + WINDOW].T[None],
        "location": np.where(known, one.location, 0)[None],
        "scale": np.where(known, one.scale, 1)[None],
        "weight": (one.weight[end] * known)[None],
        "condition": np.array([condition]),
        "threshold": np.zeros(1),
        "seasonal": seasonal.T[None],
        "statistics": statistics[None],
        "state": np.zeros((1, STATE_SIZE)),
    }


def row_by_row(graph: Graph, signal: Margins, one: EntitySeries, candidate) -> np.ndarray:
    """Margins [t], each from the state that the sample before left; windows that are not full only warm it."""
    found = np.full(len(one.values), np.nan, dtype=np.float32)
    state = np.zeros((1, STATE_SIZE), dtype=np.float32)
    full = one.first + WINDOW - 1
    for end in range(one.first if "state" in graph.inputs else full, len(one.values)):
        scored = graph.run(sample(signal, one, end, candidate) | {"state": state})
        if end >= full:
            found[end] = scored.margin[0]
        state = scored.state
    return found


def close(given: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)


def test_margins_of_every_candidate_are_what_the_graph_says_row_by_row(graph, signal):
    one = series(1, first=30)
    given = signal.margins(one, 0, len(one.values))
    assert given.shape == (len(signal.candidates), len(one.values)) and given.dtype == np.float32
    assert np.isnan(given[:, : 30 + WINDOW - 1]).all() and np.isnan(given[0, 60:]).any()
    for row, candidate in zip(given, signal.candidates, strict=True):
        close(row, row_by_row(graph, signal, one, candidate))


def test_the_graph_run_once_per_candidate_gives_the_same_margins(network, signal):
    """What a detector inherits, against its own faster way."""
    lags, model = exported(network)
    chosen, one = detector(network.split()[0]), series(6, 700, first=30)
    plain = GraphMargins(Graph(model), lags, chosen.grid(CONFIG, WINDOW), chosen.settle_steps)
    assert (plain.context_steps, plain.rounding) == (signal.context_steps, signal.rounding)
    for start, stop in ((0, 700), (600, 700)):
        close(plain.margins(one, start, stop), signal.margins(one, start, stop))


@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), missing=st.sampled_from([0.0, 0.1, 0.4]), weights=st.permutations([1.0, 0.25, 2.0, 0.0]),
       smoothing=st.floats(0.2, 1.0))  # fmt: skip
def test_any_candidate_of_views(seed, missing, weights, smoothing):
    lags, model = exported("views seasonal")
    candidate = (*weights, smoothing)
    one = ViewsMargins(Graph(expose(model)), lags, (candidate,))
    told = series(seed, 120, missing)
    close(one.margins(told, 0, 120)[0], row_by_row(Graph(model), one, told, candidate))


@pytest.mark.parametrize(("start", "stop"), [(150, 300), (200, 201), (150, 150 + BATCH + 3), (299, 300)])
def test_margins_need_no_more_context_than_they_say(signal, start, stop):
    one = series(2, 1000, missing=0.0)
    whole = signal.margins(one, 0, 1000)
    cut = max(start - signal.context_steps, 0)
    late = EntitySeries(one.values[cut:], one.weight[cut:], 0, one.location, one.scale, one.statistics)
    given = signal.margins(late, start - cut, stop - cut)
    assert given.shape == (len(signal.candidates), stop - start)
    close(given, whole[:, start:stop])
    # Nothing before the context was there: it may as well have been anything.
    other = one.values.copy()
    other[:cut] *= -3
    changed = EntitySeries(other, one.weight, 0, one.location, one.scale, one.statistics)
    close(signal.margins(changed, start, stop), given)


def test_with_half_of_the_samples_missing_little_of_what_was_before_is_left():
    """Half of the samples missing: what was before weighs at most 0.8^32, at the strongest smoothing there is."""
    model = exported("views")[1]
    one = ViewsMargins(Graph(expose(model)), (), ((1.0, 1.0, 0.5, 0.5, 0.3), (1.0, 1.0, 0.5, 0.5, 0.2)))
    told = series(3, 400, missing=0.0)
    told.values[1::2] = np.nan
    whole = one.margins(told, 0, 400)
    cut = EntitySeries(told.values[200:], told.weight[200:], 0, told.location, told.scale, told.statistics)
    part = one.margins(cut, one.context_steps, 200)
    gap = np.abs(part - whole[:, 200 + one.context_steps :])
    assert np.nanmax(gap[0]) < 1e-4 and np.nanmax(gap[1]) < 5e-3


def test_an_empty_range_and_one_without_a_full_window(signal):
    one = series(4, 100, first=90)
    assert signal.margins(one, 50, 50).shape == (len(signal.candidates), 0)
    assert np.isnan(signal.margins(one, 0, 100)).all()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 400),
    smoothing=st.floats(0.2, 1.0),
    block=st.sampled_from([1, 7, 128]),
)
def test_smoothing_is_the_recurrence(seed, count, smoothing, block):
    views = np.random.default_rng(seed).lognormal(size=(count, 4))
    total, weight, expected = np.zeros(4), 0.0, []
    for view in views:
        total, weight = (1 - smoothing) * total + smoothing * view, (1 - smoothing) * weight + smoothing
        expected.append(total / weight)
    np.testing.assert_allclose(smooth(views, smoothing, block), np.reshape(expected, (count, 4)), rtol=1e-10)


def test_combined_leaves_silent_rows_out_of_the_chain():
    random = np.random.default_rng(5)
    views = random.lognormal(size=(50, 4)).astype(np.float32)
    holed = np.full((100, 4), np.nan, dtype=np.float32)
    at = np.sort(random.choice(100, 50, replace=False))
    holed[at] = views
    candidates = ((1.0, 0.5, 0.0, 2.0, 0.3), (0.1, 0.2, 0.3, 0.4, 1.0))
    given = combined(holed, candidates)
    np.testing.assert_array_equal(given[:, at], combined(views, candidates))
    assert np.isnan(np.delete(given, at, axis=1)).all()
    weights = np.array(candidates[1][:4])
    np.testing.assert_allclose(given[1, at], np.log1p(views) @ weights, rtol=1e-6)


def test_what_was_before_the_settle_steps_is_below_a_millionth():
    assert 0.8**SETTLE_STEPS < 1e-6


def test_importing_it_loads_no_torch():
    import subprocess
    import sys

    code = "import sys, fleetalign.align.shard, fleetalign.align.reduce; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
