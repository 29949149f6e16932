"""Progress of long work: the type of its callback, and a bar per stage on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

Progress = Callable[[int, int, str], None]
"""Called with ``(done, total, stage)``; ``done`` equals ``total`` once, at the end of a stage."""


class Bar:
    """A ``Progress`` on stderr: a bar per stage on a terminal, else one line when a stage ends."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._stage = ""
        self._bar: tqdm[Any] | None = None
        self._started = 0.0
        self._ended = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Show that ``done`` of ``total`` units of ``stage`` are finished."""
        if self._quiet:
            return
        terminal = sys.stderr.isatty()
        if stage != self._stage:
            self.close()
            self._stage, self._started, self._ended = stage, time.monotonic(), False
        if terminal:
            self._draw(done, total)
        elif done >= total and not self._ended:
            self._ended = True
            print(f"{stage}: {total} in {time.monotonic() - self._started:.1f} s", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar of the current stage."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, desc=f"{self._stage:<22}", leave=True, unit="")
        self._bar.total = total
        self._bar.update(done - self._bar.n)
