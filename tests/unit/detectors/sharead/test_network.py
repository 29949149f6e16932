"""The network against an independent restatement of its equations, and the detector against contracts 3 in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.detectors.layers import fill_forward, standardise
from fleetalign.detectors.sharead.network import Dropout, ShareAD, ShareADGraph

WINDOW = 20


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    return ShareAD(WINDOW, 8).eval()


def normalised(x, weights, name):
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attention(x, weights, name, heads):
    query, key, value = (linear(x, weights, f"{name}.{part}") for part in ("query", "key", "value"))
    width = x.shape[1] // heads
    mixed = np.zeros_like(x)
    for head in range(heads):
        columns = slice(head * width, (head + 1) * width)
        for token in range(len(x)):
            logits = np.array([query[token, columns] @ other[columns] for other in key]) / math.sqrt(width)
            share = np.exp(logits - logits.max())
            mixed[token, columns] = (share / share.sum()) @ value[:, columns]
    return linear(mixed, weights, f"{name}.merge")


def block(x, weights, name, heads):
    mixed = attention(x, weights, f"{name}.mix", heads) if heads else linear(x, weights, f"{name}.mix")
    v = linear(normalised(x + mixed, weights, f"{name}.norm_mix"), weights, f"{name}.compress")
    gelu = 0.5 * v * (1 + np.vectorize(math.erf)(v / math.sqrt(2)))
    return normalised(v + linear(gelu, weights, f"{name}.feed"), weights, f"{name}.norm_out")


def restated(x, weights):
    """ShareAD of one window [M, W] in float64 loops: method of ISSRE 2022, without batch or mask."""
    base = together = x
    for layer in (0, 1):
        base = block(base, weights, f"base_encoder.{layer}", heads=0)
        together = block(together, weights, f"transformer_encoder.{layer}", heads=4)
    y = np.concatenate([linear(base, weights, "base_latent"), linear(together, weights, "transformer_latent")], axis=-1)
    for layer in (0, 1):
        y = block(y, weights, f"decoder.{layer}", heads=0)
    return linear(y, weights, "reconstruct")


@pytest.mark.parametrize(("latent_size", "parameters"), [(3, 114_813), (8, 116_376), (16, 118_232)])
def test_published_parameter_counts(latent_size, parameters):
    assert sum(p.numel() for p in ShareAD(100, latent_size).parameters()) == parameters


@pytest.mark.parametrize(("window", "latent_size", "metrics"), [(WINDOW, 8, 5), (100, 3, 2), (64, 16, 1)])
def test_agrees_with_the_equations(window, latent_size, metrics):
    torch.manual_seed(window)
    network = ShareAD(window, latent_size).eval()
    for parameter in network.parameters():  # biases and norms start at 0 and 1, which would hide a mistake
        torch.nn.init.normal_(parameter, std=0.3)
    weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    z = torch.randn(3, metrics, window)
    with torch.no_grad():
        given = network(z, torch.ones(3, metrics, dtype=torch.bool)).numpy()
    for row in range(3):
        np.testing.assert_allclose(given[row], restated(z[row].double().numpy(), weights), rtol=1e-4, atol=1e-5)


def test_attention_agrees_with_torch(network):
    attention = network.transformer_encoder[0].mix
    theirs = torch.nn.MultiheadAttention(WINDOW, 4, batch_first=True).eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in (attention.query, attention.key, attention.value)]))
        theirs.out_proj.load_state_dict(attention.merge.state_dict())
        x, usable = torch.randn(6, 7, WINDOW), torch.rand(6, 7) > 0.3
        usable[:, 0] = True
        expected, _ = theirs(x, x, x, key_padding_mask=~usable)
        given = attention(x, torch.where(usable, 0.0, -1e9)[:, None, None, :])
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-6)


def test_masking_a_metric_equals_dropping_it(network):
    z, usable = torch.randn(4, 6, WINDOW), torch.tensor([True, False, True, True, False, True]).expand(4, 6)
    z[:, 1] = 1e4
    with torch.no_grad():
        masked = network(z, usable)[usable].view(4, 4, WINDOW)
        dropped = network(z[usable].view(4, 4, WINDOW), torch.ones(4, 4, dtype=torch.bool))
    torch.testing.assert_close(masked, dropped, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [8, 9, 15, 16, 17, 50, 101])
@pytest.mark.parametrize("latent_size", [1, 3, 16])
def test_every_window_gives_a_network_whose_gradients_are_finite(window, latent_size):
    network = ShareAD(window, latent_size)
    out = network(torch.randn(2, 3, window), torch.tensor([[True, False, True], [False, False, False]]))
    assert out.shape == (2, 3, window)
    out[0].sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    x = Dropout(0.2).train()(torch.ones(400_000))
    share = 51 / 256
    assert (x == 0).float().mean().item() == pytest.approx(share, abs=0.003)
    assert x.max().item() == pytest.approx(1 / (1 - share))
    # Every eighth element comes from the same byte of a word; none of the bytes may be special.
    for lane in range(8):
        assert (x[lane::8] == 0).float().mean().item() == pytest.approx(share, abs=0.01)
    assert torch.equal(Dropout(0.2).eval()(torch.ones(5)), torch.ones(5))


def naive_fill(z, present):
    out, seen = z.copy(), 0.0
    for i in range(len(z)):
        seen = z[i] if present[i] else seen
        out[i] = seen
    return out


@settings(max_examples=200)
@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_filling_takes_the_nearest_earlier_sample_else_the_location(present):
    z = np.where(present, np.arange(1.0, len(present) + 1), 0.0).astype(np.float32)
    filled = fill_forward(torch.from_numpy(z), torch.tensor(present))
    np.testing.assert_array_equal(filled.numpy(), naive_fill(z, present))


def test_small_moves_of_large_counters_survive():
    """Subtraction in float64: 1e12 + 1 is one scale above 1e12."""
    values = torch.tensor([[[1e12, 1e12 + 1, 1e12 - 0.5]]], dtype=torch.float64)
    location, scale = torch.tensor([[1e12]], dtype=torch.float64), torch.tensor([[1.0]], dtype=torch.float64)
    z, _ = standardise(values, location, scale, 20.0)
    assert z.dtype == torch.float32
    assert z.tolist() == [[[0.0, 1.0, -0.5]]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_sample_that_is_no_number_is_absent(value):
    values = torch.tensor([[[1.0, value]]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    z, present = standardise(values, one, one, 20.0)
    assert present.tolist() == [[[True, False]]]
    assert torch.isfinite(z).all()


@pytest.mark.parametrize(("location", "scale"), [(math.nan, 1.0), (0.0, math.nan), (0.0, 0.0)])
def test_a_metric_without_statistics_is_absent(location, scale):
    z, present = standardise(
        torch.ones(1, 1, 4, dtype=torch.float64),
        torch.tensor([[location]], dtype=torch.float64),
        torch.tensor([[scale]], dtype=torch.float64),
        20.0,
    )
    assert not present.any() and torch.equal(z, torch.zeros(1, 1, 4))


class Fixed(torch.nn.Module):
    """Reconstructs everything as 0, so that errors are the squares of z."""

    def forward(self, z, usable):
        return torch.zeros_like(z)


def feeds(batch=1, metrics=2, window=4):
    return {
        "values": torch.zeros(batch, metrics, window, dtype=torch.float64),
        "location": torch.zeros(batch, metrics, dtype=torch.float64),
        "scale": torch.ones(batch, metrics, dtype=torch.float64),
        "weight": torch.ones(batch, metrics),
        "condition": torch.full((batch,), 2, dtype=torch.int32),
        "threshold": torch.zeros(batch),
    }


def test_score_margin_and_contribution_by_hand():
    detector, given = ShareADGraph(Fixed(), 4, 20.0), feeds()
    given["values"][0] = torch.tensor([[5.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 1.0]])
    given["threshold"][0] = 0.5
    expected_profile = [12.5, 1.0, 2.0, 5.0]  # mean over the two metrics of the squares
    for condition, context in ((2, 2.0), (3, 2.0), (4, 12.5)):
        given["condition"][0] = condition
        score, margin, contribution, profile = detector(**given)
        assert profile[0].tolist() == expected_profile
        assert score.item() == 5.0
        assert margin.item() == pytest.approx(5.0 - context - 0.5)
        assert contribution[0].tolist() == pytest.approx([0.9, 0.1])


def test_weights_average_and_mute():
    detector, given = ShareADGraph(Fixed(), 4, 20.0), feeds()
    given["values"][0, :, 3] = torch.tensor([1.0, 2.0])
    given["weight"][0] = torch.tensor([3.0, 1.0])
    assert detector(**given)[0].item() == pytest.approx((3 * 1 + 1 * 4) / 4)
    given["weight"][0] = torch.tensor([0.0, 1.0])
    score, _, contribution, _ = detector(**given)
    assert score.item() == 4.0
    assert contribution[0].tolist() == [0.0, 1.0]


def test_no_usable_metric_is_never_a_silent_normal():
    detector, given = ShareADGraph(Fixed(), 4, 20.0), feeds(batch=3)
    given["values"][0, :, 3] = math.nan  # newest sample missing everywhere
    given["weight"][1] = 0  # everything muted
    score, margin, contribution, profile = detector(**given)
    assert torch.isnan(score).tolist() == torch.isnan(margin).tolist() == [True, True, False]
    assert torch.isnan(profile[:2]).all()
    assert contribution[:2].abs().sum() == 0
    assert not (margin > 0).any()


def test_a_missing_newest_sample_takes_only_its_own_metric_out():
    detector, given = ShareADGraph(Fixed(), 4, 20.0), feeds()
    given["values"][0] = torch.tensor([[9.0, 9.0, 9.0, math.nan], [1.0, 1.0, 1.0, 2.0]])
    score, _, contribution, _ = detector(**given)
    assert score.item() == 4.0
    assert contribution[0].tolist() == [0.0, 1.0]


def test_zero_error_gives_equal_shares_over_usable_metrics():
    detector, given = ShareADGraph(Fixed(), 4, 20.0), feeds(metrics=3)
    given["weight"][0, 1] = 0
    score, _, contribution, _ = detector(**given)
    assert score.item() == 0.0
    assert contribution[0].tolist() == [0.5, 0.0, 0.5]


def test_values_are_clipped():
    detector, given = ShareADGraph(Fixed(), 4, 20.0), feeds(metrics=1)
    given["values"][0, 0, 3] = -1e300
    assert detector(**given)[0].item() == 400.0


def test_a_metric_alone_is_not_diluted_by_its_gap():
    """A gap inside the window repeats the last value; the leading gap is at the location."""
    detector, given = ShareADGraph(Fixed(), 4, 20.0), feeds(metrics=1)
    given["values"][0, 0] = torch.tensor([math.nan, 3.0, math.nan, 1.0])
    assert detector(**given)[3][0].tolist() == [0.0, 9.0, 9.0, 1.0]
