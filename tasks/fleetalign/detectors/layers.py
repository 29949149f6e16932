"""The torch pieces that published graphs share.

They standardise, fill gaps, and compute contributions.
Shapes: B batch, M metric (padded), W window_steps.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def standardise(values: Tensor, location: Tensor, scale: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return ``z`` float32 [B, M, W] and ``present`` bool [B, M, W].

    They come from raw float64 ``values`` and [B, M] statistics.
    The subtraction happens in float64 (contracts 3.2): a byte counter near 1e12 keeps its small moves. A sample is
    present when it is finite and its metric has a location and a positive scale; z is 0 where it is not. NaN never
    enters the arithmetic: runtimes differ in how Clip and Max treat it.
    """
    known = (location.abs() < math.inf) & (scale > 0)
    present = (values.abs() < math.inf) & known[..., None]
    z = (values - location[..., None]) * torch.where(known, 1.0 / scale, 0.0)[..., None]
    return torch.where(present, z.to(torch.float32), 0.0).clamp(-clip, clip), present


def fill_forward(z: Tensor, present: Tensor) -> Tensor:
    """Return ``z`` [B, M, W] with absent samples replaced by the nearest earlier present one.

    ``z`` is 0 where absent.
    Shifts double (1, 2, 4, ...), so log2(W) steps reach across the whole window. Products and maxima instead of choices:
    runtimes compute those several at a time.
    """
    known = present.to(z.dtype)
    window = z.shape[-1]
    shift = 1
    while shift < window:
        z = z + F.pad(z[..., :-shift], (shift, 0)) * (1.0 - known)
        known = torch.maximum(known, F.pad(known[..., :-shift], (shift, 0)))
        shift *= 2
    return z


def shares(parts: Tensor, usable: Tensor) -> Tensor:
    """Return ``parts`` float32 [B, M] (>= 0) as shares of their sum.

    Where the sum is 0, usable metrics get equal shares.
    """
    total = parts.sum(dim=-1, keepdim=True)
    equal = usable / usable.sum(dim=-1, keepdim=True).clamp(min=1)
    return torch.where(total > 0, parts / torch.where(total > 0, total, 1.0), equal)
