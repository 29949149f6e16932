"""The baselines as detectors: what their graphs compute, against the formulas in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from fleetalign.config import AlignConfig, ModelConfig
from fleetalign.contracts.graph import Graph
from fleetalign.detectors.baselines import SMOOTHING, MeanZ, RankOne
from fleetalign.detectors.detector import Detector
from fleetalign.detectors.margins import BATCH, EntitySeries
from fleetalign.detectors.views.statistics import first_direction, residuals
from fleetalign.model.export import export

WINDOW, STEPS, METRICS, MUTED = 8, BATCH + 200, 3, slice(300, 320)


@pytest.fixture(scope="module")
def panel(as_panel):
    """One entity with gaps, samples without any metric, and a jump beyond the clip."""
    random = np.random.default_rng(0)
    values = 50 + 3 * random.normal(size=(1, STEPS, 1)) + random.normal(size=(1, STEPS, METRICS))
    values[random.random(values.shape) < 0.1] = np.nan
    values[0, 100:104] = np.nan
    values[0, 400, 1] = 1e6
    return as_panel(values)


def margins(detector: Detector, panel, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins [t] from ``start`` on as alignment computes them, and the clipped z-scores [t, M] behind them."""
    model = ModelConfig(window_steps=WINDOW)
    graph = Graph(export(detector.network(model, None), WINDOW))
    location, scale = np.nanmean(panel.values[0, :300], axis=0), np.nanstd(panel.values[0, :300], axis=0)
    fitter = detector.fitter(graph, (), model.clip)
    own = np.zeros((METRICS, 0)) if fitter is None else fitter.fit(panel, 0, 0, 300, location, scale)
    weight = np.ones((STEPS, METRICS), dtype=np.float32)
    weight[MUTED, 0] = 0
    series = EntitySeries(panel.values[0], weight, 0, location, scale, own.astype(np.float32))
    grid = detector.grid(AlignConfig(), WINDOW)
    assert grid.candidates == ((),) and grid.shared_candidate
    found = detector.margins(graph, (), grid).margins(series, start, STEPS)
    z = np.clip((panel.values[0] - location) / scale, -model.clip, model.clip)
    z[MUTED, 0] = np.nan
    return found[0], z


def test_mean_z_is_the_mean_size_of_what_was_measured(panel):
    found, z = margins(MeanZ(), panel, WINDOW - 1)
    silent = np.isnan(z).all(axis=1)
    expected = np.full(STEPS, np.nan)
    expected[~silent] = np.nanmean(np.abs(z[~silent]), axis=1)
    assert silent[100:104].all()
    np.testing.assert_allclose(found, expected[WINDOW - 1 :], rtol=1e-5)


@pytest.mark.parametrize("start", [WINDOW - 1, 400])
def test_rank_one_is_the_smoothed_residual_across_batches_and_from_any_start(panel, start):
    found, z = margins(RankOne(), panel, start)
    seen = np.isfinite(z)
    history = panel.values[0, :300]
    direction = first_direction(np.nan_to_num((history - np.nanmean(history, axis=0)) / np.nanstd(history, axis=0)))
    squares = np.where(seen, residuals(np.nan_to_num(z), seen, direction) ** 2, np.nan)
    expected, total, weight = np.full(STEPS, np.nan), 0.0, 0.0
    for step in range(STEPS):  # windows that are not full yet warm the mean
        if seen[step].any():
            total = (1 - SMOOTHING) * total + SMOOTHING * np.nanmean(squares[step])
            weight = (1 - SMOOTHING) * weight + SMOOTHING
            expected[step] = total / weight if step >= WINDOW - 1 else np.nan
    np.testing.assert_allclose(found, expected[start:], rtol=1e-4, atol=1e-5)
