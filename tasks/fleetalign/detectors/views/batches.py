"""What one training step of ``views`` sees of the windows it draws.

A window is drawn many times and overlaps its neighbours. What the network makes of a sample before its first weight does
not depend on the window, so it is computed once for the whole panel.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fleetalign.contracts.arrays import Floats, Floats32, Ints
from fleetalign.detectors.layers import fill_forward
from fleetalign.detectors.views.period import reference
from fleetalign.detectors.views.roles import REFERENCE_STEPS
from fleetalign.storage.panel import Panel, entities_of, forget, scratch


class CompressedPanel:
    """Holds c = asinh(z) of every sample and the mean of earlier periods at its time.

    Large arrays are memory-mapped.
    """

    def __init__(
        self,
        panel: Panel,
        location: Floats,
        scale: Floats,
        clip: float,
        window_steps: int,
        period_steps: int | None,
        memory_mb: int = 512,
        scratch_dir: str | None = None,
    ) -> None:
        self._back = np.arange(1 - window_steps, 1)
        self._reference_back = np.arange(1 - REFERENCE_STEPS, 1)
        self._c = scratch(panel.values.shape, np.float32, memory_mb, scratch_dir)
        self._reference: Floats32 | None = None
        if period_steps is not None:
            self._reference = scratch(panel.values.shape, np.float32, memory_mb, scratch_dir)
        maps = [panel.values, self._c] + ([] if self._reference is None else [self._reference])
        for e in entities_of(*maps):
            known = np.isfinite(location[e]) & (scale[e] > 0)
            values = np.asarray(panel.values[e])
            z = (values - np.where(known, location[e], 0.0)) / np.where(known, scale[e], 1.0)
            c = np.arcsinh(np.clip(np.where(known & np.isfinite(values), z, np.nan), -clip, clip))
            self._c[e] = c
            if self._reference is not None and period_steps is not None:
                self._reference[e] = reference(c, period_steps)

    def gather(self, entity: Ints, end: Ints) -> dict[str, Tensor]:
        """Return ``c`` float32 [B, M, W], filled forward, and ``usable`` bool [B, M] of the windows.

        With a period also ``reference`` float32 [B, M, P], 0 where any of its positions is unknown, and ``known``
        float32 [B, M, 1].
        """
        c = torch.from_numpy(self._c[entity[:, None], end[:, None] + self._back]).transpose(1, 2).contiguous()
        forget(self._c)
        present = torch.isfinite(c)
        found = {"c": c if present.all() else fill_forward(torch.nan_to_num(c), present), "usable": present[..., -1]}
        if self._reference is not None:
            at = end[:, None] + self._reference_back
            earlier = torch.from_numpy(self._reference[entity[:, None], np.maximum(at, 0)]).transpose(1, 2)
            forget(self._reference)
            known = (torch.isfinite(earlier) & torch.from_numpy(at >= 0)[:, None]).all(dim=-1, keepdim=True)
            found |= {"reference": torch.where(known, earlier, 0.0), "known": known.to(torch.float32)}
        return found
