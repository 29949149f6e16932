"""What is typical for an entity: fitted numbers against direct computation, defaults, metrics that are not there."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.contracts.graph import Graph, expose
from fleetalign.contracts.tables import DEFAULT_ENTITY
from fleetalign.detectors.registry import detector
from fleetalign.detectors.statistics import completed
from fleetalign.detectors.views.roles import FLEET_STATISTICS, OWN_STATISTICS, STATE_SIZE, STATISTICS
from fleetalign.detectors.views.statistics import (
    ALL_QUIET,
    DEFAULT_FLEET,
    ViewsFitter,
    first_direction,
    residuals,
)
from fleetalign.model import normalizer
from fleetalign.model.candidate import add_statistics

RECENT, SEASONAL, DIRECTION, RESIDUAL = range(4)


@pytest.fixture(scope="module")
def fitter(views) -> ViewsFitter:
    return ViewsFitter(Graph(expose(views.exported)), views.trained.network.lags, views.model.clip)


def holed(views, seed: int = 0):
    """The panel of ``views`` with gaps, silent samples and, for entity 1, a metric without any sample."""
    values = views.panel.values.copy()
    random = np.random.default_rng(seed)
    values[random.random(values.shape) < 0.1] = np.nan
    values[:, random.random(values.shape[1]) < 0.05] = np.nan
    values[1, :, 2] = np.nan
    panel = views.panel
    return type(panel)(**{name: getattr(panel, name) for name in panel.__dataclass_fields__} | {"values": values})


def fitted(fitter, views, panel, entity, start=0, stop=None, location=None):
    location = views.location[entity] if location is None else location
    stop = panel.values.shape[1] if stop is None else stop
    return fitter.fit(panel, entity, start, stop, location, views.scale[entity])


def errors_one_by_one(fitter, views, panel, entity, start, stop):
    """Both errors of every full window, asked from the graph alone: lists per metric."""
    window, lags = fitter.graph.window_steps, np.array(fitter.lags, dtype=np.int64)
    values, location, scale = panel.values[entity], views.location[entity], views.scale[entity]
    found = [[[], []] for _ in location]
    for end in range(start + window - 1, stop):
        earlier = end - lags
        seasonal = np.where((earlier >= 0)[:, None], values[np.maximum(earlier, 0)], np.nan).T
        recent, seasonal_error = fitter.graph.values(
            ("recent_error", "seasonal_error"),
            {
                "values": values[end - window + 1 : end + 1].T[None], "location": location[None], "scale": scale[None],
                "weight": np.ones((1, len(location))), "condition": np.zeros(1), "threshold": np.zeros(1),
                "seasonal": seasonal[None], "statistics": np.ones((1, len(location), len(STATISTICS))),
                "state": np.zeros((1, STATE_SIZE)),
            },
        )  # fmt: skip
        for m in range(len(location)):
            if np.isfinite(values[end, m]):
                found[m][RECENT].append(recent[0, m])
                if not fitter.lags or np.isfinite(seasonal).any():
                    found[m][SEASONAL].append(seasonal_error[0, m])
    return found


def test_typical_errors_are_means_over_present_samples(fitter, views):
    panel = holed(views)
    for entity in (0, 1):
        found = fitted(fitter, views, panel, entity)
        direct = errors_one_by_one(fitter, views, panel, entity, 0, panel.values.shape[1])
        for m, (recent, seasonal) in enumerate(direct):
            if (entity, m) == (1, 2):
                assert np.isnan(found[m]).all()
                continue
            assert found[m, RECENT] == pytest.approx(np.mean(recent), rel=1e-5)
            assert found[m, SEASONAL] == pytest.approx(np.mean(seasonal), rel=1e-5)


def test_direction_and_residual_are_those_of_a_singular_value_decomposition(fitter, views):
    panel = holed(views)
    for entity in (0, 1):
        found = fitted(fitter, views, panel, entity)
        z = np.clip((panel.values[entity] - views.location[entity]) / views.scale[entity], -20, 20)
        seen = np.isfinite(z)
        known = seen.any(axis=0)
        u = np.linalg.svd(np.where(seen, z, 0.0), full_matrices=False)[2][0]
        u *= np.sign(u.sum())
        np.testing.assert_allclose(found[known, DIRECTION], u[known], atol=1e-6)
        for m in np.flatnonzero(known):
            sizes = []
            for t in np.flatnonzero(seen[:, m]):
                others = seen[t]
                along = (u[others] @ z[t, others]) / (u[others] @ u[others])
                sizes.append(abs(z[t, m] - u[m] * along))
            assert found[m, RESIDUAL] == pytest.approx(np.mean(sizes), rel=1e-6)


def test_only_the_range_counts(fitter, views):
    panel = holed(views)
    half = panel.values.shape[1] // 2
    found = fitted(fitter, views, panel, 0, stop=half)
    panel.values[0, half:] *= -7
    np.testing.assert_array_equal(fitted(fitter, views, panel, 0, stop=half), found)
    assert not np.allclose(fitted(fitter, views, panel, 0), found)


def test_a_metric_without_location_is_unknown_and_the_others_do_not_see_it(fitter, views):
    panel = holed(views)
    location = views.location[0].copy()
    location[3] = np.nan
    found = fitted(fitter, views, panel, 0, location=location)
    assert np.isnan(found[3]).all() and np.isfinite(found[[0, 1, 2, 4]]).all()
    panel.values[0, :, 3] = np.nan
    np.testing.assert_allclose(found[[0, 1, 2, 4]], fitted(fitter, views, panel, 0)[[0, 1, 2, 4]], rtol=1e-6)


def test_too_little_for_a_window_has_a_direction_and_no_errors(fitter, views):
    found = fitted(fitter, views, views.panel, 0, stop=fitter.graph.window_steps - 1)
    assert np.isnan(found[:, [RECENT, SEASONAL]]).all()
    assert np.isfinite(found[:, [DIRECTION, RESIDUAL]]).all()


def test_nothing_seen_knows_nothing(fitter, views):
    panel = holed(views)
    panel.values[0] = np.nan
    assert np.isnan(fitted(fitter, views, panel, 0)).all()


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_the_residual_is_orthogonal_to_the_direction_among_what_is_seen(seed, metrics):
    random = np.random.default_rng(seed)
    z = random.normal(size=(30, metrics)) + random.normal(size=(30, 1))
    seen = random.random(z.shape) < 0.8
    z = np.where(seen, z, 0.0)
    u = first_direction(z)
    assert np.linalg.norm(u) == pytest.approx(1) and u.sum() >= 0
    left = np.where(seen, residuals(z, seen, u), 0.0)
    np.testing.assert_allclose((left * u).sum(axis=1), 0, atol=1e-9)
    assert (np.square(left).sum(axis=1) <= np.square(z).sum(axis=1) + 1e-9).all()


def test_defaults_are_medians_without_a_direction_of_their_own(fitter):
    own = np.random.default_rng(0).uniform(1, 2, (5, 3, 4))
    own[0, 1], own[:, 2] = np.nan, np.nan
    found = fitter.defaults(own)
    np.testing.assert_allclose(found[0, [0, 1, 3]], np.median(own[:, 0], axis=0)[[0, 1, 3]])
    np.testing.assert_allclose(found[1, [0, 1, 3]], np.median(own[1:, 1], axis=0)[[0, 1, 3]])
    assert found[2, [0, 1, 3]].tolist() == [ALL_QUIET] * 3
    assert (found[:, DIRECTION] == 0).all()


def test_what_is_unknown_is_completed_from_the_defaults_and_the_fleets_numbers_join():
    own = np.arange(8.0).reshape(2, 4)
    own[1, 1:3] = np.nan
    found = completed(own, np.full((2, 4), 9.0), DEFAULT_FLEET)
    assert found.dtype == np.float32 and found.shape == (2, len(STATISTICS))
    assert found[:, :4].tolist() == [[0, 1, 2, 3], [4, 9, 9, 7]]
    np.testing.assert_array_equal(found[:, 4:], np.float32([DEFAULT_FLEET] * 2))
    assert len(DEFAULT_FLEET) == len(FLEET_STATISTICS)
    given_fleet = completed(own, np.full((2, 4), 9.0), (1, 0, 0, 0, 0.5))
    np.testing.assert_array_equal(given_fleet[:, 4:], np.float32([[1, 0, 0, 0, 0.5]] * 2))


def test_the_normalizer_gains_a_column_each_and_knows_strangers(fitter, views):
    panel = holed(views)
    fitted = normalizer.build(panel, views.model, 10)
    table = add_statistics(fitted, panel, detector("views"), views.exported, fitter.lags, views.model.clip).table()
    assert set(STATISTICS) < set(table.schema.names)
    names = [*OWN_STATISTICS, *FLEET_STATISTICS]
    found = normalizer.columns_of(table, "web", [*panel.entity_ids, "stranger"], panel.metrics, names)
    location, scale = normalizer.lookup(table, "web", panel.entity_ids, panel.metrics)
    own = np.stack(
        [fitter.fit(panel, e, 0, panel.values.shape[1], location[e], scale[e]) for e in range(len(location))]
    )
    for k in range(4):
        known = np.isfinite(own[:, :, k])
        np.testing.assert_allclose(found[k, :-1][known], own[:, :, k][known], rtol=2.0**-normalizer.BITS)
        np.testing.assert_allclose(found[k, -1], fitter.defaults(own)[:, k], rtol=2.0**-normalizer.BITS)
    for k, value in enumerate(DEFAULT_FLEET):
        np.testing.assert_allclose(found[4 + k], value, rtol=2.0**-normalizer.BITS)
    # Entity 1 never sent metric 2: it has the defaults' row for it.
    np.testing.assert_allclose(found[:4, 1, 2], fitter.defaults(own)[2], rtol=2.0**-normalizer.BITS)
    fallback = table.filter(np.array(table["entity_id"].to_pylist()) == DEFAULT_ENTITY)
    assert fallback.num_rows == len(panel.metrics)


def test_importing_it_loads_no_torch():
    code = "import sys, fleetalign.detectors.views.statistics, fleetalign.detectors.margins; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
