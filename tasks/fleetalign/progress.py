"""Progress on a terminal: one bar per stage, on stderr; one line per stage where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what); done = total once, at the end."""


class Bar:
    """Call it with ``(done, total, what)``; a new ``what`` starts a new bar."""

    def __init__(self) -> None:
        self._what = ""
        self._bar = None
        self._started = time.monotonic()
        self._told = False

    def __call__(self, done: int, total: int, what: str) -> None:
        from tqdm import tqdm

        if what != self._what:
            self.close()
            self._what, self._started, self._told = what, time.monotonic(), False
            self._bar = tqdm(total=total, desc=f"{what:<22}", leave=True, disable=not sys.stderr.isatty(), unit="")
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done >= total and not self._told and not sys.stderr.isatty():
            self._told = True
            print(f"{what}: {total} in {time.monotonic() - self._started:.1f} s", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
