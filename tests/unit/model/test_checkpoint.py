from __future__ import annotations

import copy

import pytest
import torch

from fleetalign.detectors.sharead.network import ShareAD
from fleetalign.model import checkpoint
from fleetalign.model.checkpoint import TrainingState


def stepped(seed, steps):
    torch.manual_seed(seed)
    network = ShareAD(16, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    for _ in range(steps):
        step(network, optimizer)
    return network, optimizer


def step(network, optimizer):
    optimizer.zero_grad()
    z = torch.randn(4, 3, 16)
    (network(z, torch.ones(4, 3, dtype=torch.bool)) - z).square().mean().backward()
    optimizer.step()


STATE = TrainingState(1, 7, 0.1 + 0.2, 30.0, 0, 1 / 3, [{"epoch": 0, "train_loss": 0.7, "validation_loss": None}])


def test_goes_on_as_if_nothing_had_happened():
    network, optimizer = stepped(seed=0, steps=3)
    best = {name: tensor + 1 for name, tensor in network.state_dict().items()}
    data = checkpoint.pack(network, best, optimizer, STATE, "f")
    step(network, optimizer)

    other, other_optimizer = stepped(seed=9, steps=0)
    restored_best, state = checkpoint.restore(data, "f", other, other_optimizer)
    step(other, other_optimizer)

    assert state == STATE
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
        assert torch.equal(restored_best[name], best[name])


def shortened(data):
    return data[:-10]


@pytest.mark.parametrize(
    ("fingerprint", "change"),
    [("other", bytes), ("f", shortened), ("f", lambda _: b""), ("f", lambda _: b"PAR1 is no checkpoint")],
)
def test_what_does_not_fit_is_ignored_and_changes_nothing(fingerprint, change):
    network, optimizer = stepped(seed=0, steps=1)
    data = checkpoint.pack(network, copy.deepcopy(network.state_dict()), optimizer, STATE, "f")
    other, other_optimizer = stepped(seed=9, steps=1)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    assert checkpoint.restore(change(data), fingerprint, other, other_optimizer) is None
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())
