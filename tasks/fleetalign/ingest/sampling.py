"""The sampling step of a kind, from its timestamps."""

from __future__ import annotations

import numpy as np

from fleetalign.errors import BadInput


def infer_step_seconds(series: np.ndarray, times: np.ndarray, kind: str) -> int:
    """The most common positive spacing inside one series, in whole seconds; of equally common ones the shortest.

    ``series`` int [row] numbers the series each row belongs to, ``times`` is datetime64[us] [row]. Raises BadInput
    naming ``kind`` when no series has two times.
    """
    order = np.lexsort((times, series))
    spacing = np.diff(times[order]).astype(np.int64)
    spacing = spacing[(np.diff(series[order]) == 0) & (spacing > 0)]
    if len(spacing) == 0:
        raise BadInput(
            f"kind {kind}: no entity has two samples, so the sampling step is unknown; "
            f"set steps: {{{kind}: SECONDS}} in params.yaml"
        )
    seconds, counts = np.unique(np.maximum(1, np.rint(spacing / 1e6).astype(np.int64)), return_counts=True)
    return int(seconds[counts.argmax()])
