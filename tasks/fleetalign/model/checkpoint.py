"""The state of a training as safetensors bytes.

Its numbers are in the header's metadata. No pickle.
Tensors: ``network.*`` weights, ``best.*`` best-validation weights, ``adam.*`` moments and step counts, ``random.*``
generator states. Window draws and hidden metrics are functions of (seed, epoch, batch) and need no state.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

HEADER_BYTES = 8


@dataclass(slots=True)
class TrainingState:
    """Position in the training.

    The next batch is number ``batch`` of epoch ``epoch`` (both from 0).
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    """Sum over this epoch's batches so far of loss * usable metrics."""
    loss_weight: float = 0.0
    best_epoch: int = -1
    best_loss: float | None = None
    curve: list[dict[str, float | int | None]] = field(default_factory=list)
    """One ``{"epoch", "train_loss", "validation_loss"}`` per finished epoch."""


def pack(
    network: nn.Module,
    best: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    fingerprint: str,
) -> bytes:
    """Return a checkpoint of the training.

    It has ``network``, its ``best`` weights so far, ``optimizer``, ``state`` and torch's generators.
    """
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": tensor for name, tensor in moments.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    device = next(network.parameters()).device
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    metadata = {"fingerprint": fingerprint, "state": json.dumps(asdict(state))}
    return save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)


def restore(
    data: bytes, fingerprint: str, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], TrainingState] | None:
    """Load ``data`` into network, optimizer and torch's generators.

    Returns the best weights and the state.
    Returns None and changes nothing if the bytes are no checkpoint or one of another fingerprint: a checkpoint only
    saves time, so a training never depends on one.
    """
    metadata = _metadata(data)
    if metadata.get("fingerprint") != fingerprint:
        return None
    try:
        tensors = load_tensors(data)
    except SafetensorError:
        return None
    network.load_state_dict(_part(tensors, "network."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "adam.").items():
        index, _, moment = name.partition(".")
        moments.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random.cpu"])
    device = next(network.parameters()).device
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
    return _part(tensors, "best."), TrainingState(**json.loads(metadata["state"]))


def _metadata(data: bytes) -> dict[str, str]:
    """Return the metadata in the header of safetensors bytes; empty if there is none."""
    length = int.from_bytes(data[:HEADER_BYTES], "little")
    try:
        metadata: dict[str, str] = json.loads(data[HEADER_BYTES : HEADER_BYTES + length]).get("__metadata__", {})
    except ValueError:
        return {}
    return metadata


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix``, under the rest of their names."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
