"""The windows of a panel, the random choice of an epoch, and their samples.

A window is the pair (entity, end): the W grid positions ``end - W + 1 .. end`` of one entity. It exists when they all
lie inside the index range and not before the entity's first row. Windows are numbered entity after entity by
cumulative counts, so no list of windows is ever built. A window whose newest sample has no metric is not usable.
Only the values show that, so such windows are skipped when a batch is gathered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fleetalign.storage.panel import Panel, forget


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples of some windows."""

    entity: np.ndarray
    """int64 [B]: each window's entity, as an index into the panel."""
    values: np.ndarray
    """float64 [B, M, W] in raw units, newest sample last; NaN = missing."""
    seasonal: np.ndarray
    """float64 [B, M, L]: the samples ``lags`` steps before the newest one."""


class WindowIndex:
    """The windows of a panel that lie wholly in an index range; lags may reach before it."""

    def __init__(
        self, panel: Panel, start_index: int, stop_index: int, window_steps: int, lags: Sequence[int] = ()
    ) -> None:
        """Count the windows of ``panel`` in ``[start_index, stop_index)``."""
        self._panel = panel
        self._window_steps = window_steps
        self._lags = np.array(lags, dtype=np.int64)
        self._first_end = np.maximum(panel.first, start_index) + window_steps - 1
        stop_end = np.minimum(panel.last + 1, stop_index)
        counts = np.where(panel.first > panel.last, 0, np.maximum(stop_end - self._first_end, 0))
        self._cumulative = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._cumulative[-1]) if self._cumulative.size else 0

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(entity, end)``, int64 each, of the windows ``numbers``, int64 in ``[0, len)``."""
        entity = np.searchsorted(self._cumulative, numbers, side="right")
        before = np.where(entity > 0, self._cumulative[entity - 1], 0)
        return entity, self._first_end[entity] + numbers - before

    def sample(self, limit: int, seed: int, epoch: int) -> np.ndarray:
        """Draw at most ``limit`` window numbers without repeats, the same for equal seed and epoch."""
        random = np.random.default_rng([seed, epoch])
        return random.choice(len(self), size=min(limit, len(self)), replace=False, shuffle=True)

    def usable(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(entity, end)`` of the windows whose newest sample has at least one metric."""
        entity, end = self.locate(numbers)
        usable = np.isfinite(self._panel.values[entity, end]).any(axis=1)
        forget(self._panel.values)
        return entity[usable], end[usable]

    def places(self, numbers: np.ndarray, batch_size: int, skip: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield ``usable`` of ``numbers`` in slices of ``batch_size`` from slice ``skip`` on.

        A slice may be empty.
        """
        for at in range(skip * batch_size, len(numbers), batch_size):
            yield self.usable(numbers[at : at + batch_size])

    def gather(self, numbers: np.ndarray) -> Batch:
        """Read the samples of the windows ``usable`` among ``numbers``."""
        entity, end = self.usable(numbers)
        steps = end[:, None] + np.arange(1 - self._window_steps, 1)
        windows = self._panel.values[entity[:, None], steps].transpose(0, 2, 1)
        earlier = end[:, None] - self._lags
        lagged = self._panel.values[entity[:, None], np.maximum(earlier, 0)]
        forget(self._panel.values)
        lagged[earlier < 0] = np.nan
        return Batch(entity, windows, lagged.transpose(0, 2, 1))

    def batches(self, numbers: np.ndarray, batch_size: int, skip: int = 0) -> Iterator[Batch]:
        """Yield ``numbers`` as batches of ``batch_size`` from batch ``skip`` on.

        A batch may be smaller or empty.
        """
        for at in range(skip * batch_size, len(numbers), batch_size):
            yield self.gather(numbers[at : at + batch_size])


def split(
    panel: Panel, start_index: int, stop_index: int, window_steps: int, validation_share: float
) -> tuple[WindowIndex, WindowIndex | None]:
    """Split a range into training windows and, from its end, validation windows.

    A gap of one window lies between them, so that no sample is in both. A range too short for two parts is all
    training and has no validation windows (None).
    """
    cut = stop_index - round((stop_index - start_index) * validation_share)
    training = WindowIndex(panel, start_index, cut - window_steps, window_steps)
    validation = WindowIndex(panel, cut, stop_index, window_steps)
    if len(training) and len(validation):
        return training, validation
    return WindowIndex(panel, start_index, stop_index, window_steps), None
