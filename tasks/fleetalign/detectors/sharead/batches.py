"""Standardised windows for one training step of ``sharead``.

They are gathered from raw units as the graph takes them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.detectors.layers import fill_forward, standardise
from fleetalign.storage.panel import Panel, forget


class RawWindows:
    """Gathers ``z`` float32 [B, M, W], filled forward, and ``usable`` bool [B, M].

    A metric is usable if its newest sample is there.
    """

    def __init__(self, panel: Panel, location: Floats, scale: Floats, clip: float, window_steps: int) -> None:
        self._values = panel.values
        self._location, self._scale = torch.from_numpy(location), torch.from_numpy(scale)
        self._clip = clip
        self._back = np.arange(1 - window_steps, 1)

    def gather(self, entity: Ints, end: Ints) -> dict[str, Tensor]:
        windows = torch.from_numpy(self._values[entity[:, None], end[:, None] + self._back].transpose(0, 2, 1))
        forget(self._values)
        z, present = standardise(windows, self._location[entity], self._scale[entity], self._clip)
        usable = present[..., -1]
        return {"z": (z if present.all() else fill_forward(z, present)).contiguous(), "usable": usable}
