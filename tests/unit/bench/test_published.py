"""The restated published way against fleetalign's own: same weights, same numbers, same decisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import published, published_align
from fleetalign.align.entity import seeded_uniform
from fleetalign.align.tpe import fit as tpe_fit
from fleetalign.config import AlignConfig
from fleetalign.contracts.graph import margins
from fleetalign.detectors.sharead.network import ShareAD
from fleetalign.evaluate.measures import point_adjusted_counts

WINDOW = 100


@pytest.fixture(scope="module")
def pair():
    """fleetalign's network and the restatement with the same weights."""
    torch.manual_seed(3)
    ours = ShareAD(WINDOW, 8).eval()
    theirs = published.PublishedShareAD(WINDOW, 8).eval()
    theirs.load_state_dict(published.weights_of(ours.state_dict()))
    return ours, theirs


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    """float64 [time, metric] with two anomalies near 300 and 480."""
    random = np.random.default_rng(1)
    values = np.sin(np.arange(600)[:, None] / 7 + np.arange(5)) + 0.1 * random.standard_normal((600, 5))
    values[300:330] += 3 * random.standard_normal((30, 5))
    values[480:500] += 2 * random.standard_normal((20, 5))
    return values


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """int8 per window of ``series``: the first window ends at 99."""
    labels = np.zeros(600, dtype=np.int8)
    labels[300:330] = labels[480:500] = 1
    return labels[WINDOW - 1 :]


@pytest.fixture(scope="module")
def dataset(series) -> published.WindowDataset:
    return published.WindowDataset([published.standardise(series, np.zeros(5), np.ones(5))], WINDOW)


def test_the_network_has_the_published_number_of_parameters():
    counts = [sum(p.numel() for p in published.PublishedShareAD(WINDOW, h).parameters()) for h in (3, 8, 16)]
    assert counts == [114_813, 116_376, 118_232]


def test_same_weights_give_the_same_reconstruction(pair):
    ours, theirs = pair
    z = torch.randn(7, 5, WINDOW, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = ours(z, torch.ones(7, 5, dtype=torch.bool))
        assert torch.allclose(theirs(z), expected, rtol=1e-5, atol=1e-5)


def test_items_are_windows_of_one_entity():
    series = [torch.arange(12.0).reshape(6, 2), 100 + torch.arange(8.0).reshape(4, 2)]
    dataset = published.WindowDataset(series, 4)
    assert len(dataset) == 3 + 1
    assert dataset[2].tolist() == [[4, 6, 8, 10], [5, 7, 9, 11]]
    assert dataset[3].tolist() == [[100, 102, 104, 106], [101, 103, 105, 107]]


def test_same_margins_as_the_error_profile(pair, dataset):
    """d(C) from the whole error array equals d(C) from fleetalign's profile, for every kind of C."""
    ours, theirs = pair
    errors = published.squared_errors(theirs, dataset)
    assert errors.shape == (len(dataset), WINDOW, 5)
    windows = torch.stack([dataset[i] for i in range(len(dataset))])
    with torch.no_grad():
        reconstructed = ours(windows, torch.ones(windows.shape[:2], dtype=torch.bool))
    profile = (windows - reconstructed).square().mean(dim=1).numpy()
    for condition in (6, 11, 37, 100):
        expected = margins(profile, condition)
        np.testing.assert_allclose(published_align.context_margins(errors, condition), expected, rtol=1e-4, atol=1e-5)


def test_deciding_a_batch_is_the_same_rule(pair, series, dataset):
    _, theirs = pair
    errors = published.squared_errors(theirs, dataset)
    windows = np.lib.stride_tricks.sliding_window_view(series, WINDOW, axis=0)[40:60]
    score, margin = published.decide(theirs, windows, np.zeros(5), np.ones(5), 21, 0.5)
    np.testing.assert_allclose(score, errors.mean(axis=2)[40:60, -1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(margin, published_align.context_margins(errors, 21)[40:60] - 0.5, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("percentile", [85, 93, 99])
def test_point_adjustment_agrees_with_ours(percentile, labels):
    scores = np.random.default_rng(percentile).random(len(labels))
    alarms = scores > np.percentile(scores, percentile)
    expected = point_adjusted_counts(alarms, labels).f1
    assert published_align.point_adjusted_f1(alarms.copy(), labels) == pytest.approx(expected, abs=1e-4)


def test_point_adjustment_never_fills_back_to_the_first_sample():
    alarms = np.array([False, False, True, False])
    published_align.point_adjusted_f1(alarms, np.array([1, 1, 1, 0]))
    assert alarms.tolist() == [False, True, True, False]


def test_same_search_same_decision(pair, dataset, labels):
    """With the same seed both searches draw the same trials, so they end at the same (C, percentile)."""
    _, theirs = pair
    errors = published.squared_errors(theirs, dataset)
    config = AlignConfig(method="published_tpe", objective="point_adjusted_f1")
    ours = tpe_fit(errors.mean(axis=2), labels, config, "web", "e0")
    seed = int(seeded_uniform(config.seed, "web", "e0", 1)[0] * 2**31)
    found = published_align.align(errors, labels, seed=seed)
    assert found.condition == ours["tpe_condition"]
    assert 1 - found.percentile / 100 == pytest.approx(float(ours["tpe_tail_probability"]), rel=1e-5)
    assert found.threshold == pytest.approx(float(ours["tpe_threshold"]), rel=1e-5)
    assert 6 <= found.condition <= 100 and 85 <= found.percentile <= 99


def test_one_class_of_feedback_takes_the_fixed_pair(dataset, pair):
    errors = published.squared_errors(pair[1], dataset)
    found = published_align.align(errors, np.zeros(len(errors), dtype=np.int8))
    assert (found.condition, found.percentile) == published_align.ONE_CLASS


def test_training_lowers_the_loss_and_keeps_the_best_weights(dataset):
    fitted = published.fit(dataset, epochs=3, batch_size=32, learning_rate=2e-3)
    validation = [loss for _, loss in fitted.curve]
    assert fitted.curve[-1][0] < fitted.curve[0][0]
    assert len(validation) == 3 and all(np.isfinite(validation))
    assert not fitted.network.training


def test_training_without_validation_and_with_a_bound(dataset):
    seen = []
    published.fit(
        dataset, epochs=1, batch_size=16, validation_share=0, max_windows=70, progress=lambda *a: seen.append(a)
    )
    assert seen[-1] == (4, 4, "train published")
