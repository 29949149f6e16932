"""Chooses torch's device and makes its arithmetic repeatable.

The switches are process-wide.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import torch

from fleetalign.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device for ``cpu``, ``cuda`` or ``auto``.

    ``auto`` is CUDA if there is one, else the CPU and a warning.

    Raises:
        ConfigError: ``cuda`` without a CUDA device.
    """
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise ConfigError("training.device is 'cuda' but torch finds no CUDA device; set 'auto' or 'cpu'")
    if name == "auto" and not present:
        logging.getLogger(__name__).warning(
            "torch finds no CUDA device: training on the CPU, as training.device allows"
        )
    return torch.device("cuda" if name != "cpu" and present else "cpu")


@contextlib.contextmanager
def repeatable(seed: int, threads: int, device: torch.device) -> Iterator[None]:
    """Seed the generators, fix the threads and (on the CPU) use deterministic kernels.

    All of it is restored afterwards.
    Denormals are flushed to zero: near-zero Adam moments otherwise cost several times the time of a batch.
    CUDA is not held to deterministic kernels: its promise is 1e-5 relative (contracts 4.3).
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(device.type == "cpu")
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])
            torch.set_flush_denormal(False)
