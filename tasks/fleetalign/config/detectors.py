"""The detectors that ``model.network`` can name, and their default settings.

A default holds where the settings leave a value open.

Settings stand below the detectors and import none of them: a detector is loaded by its name, when it is asked for.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from fleetalign.errors import ConfigError

GROUP = "fleetalign.detectors"
"""Entry-point group in which an installed package registers a detector class under its name."""
BUILT_IN = {
    "views": EntryPoint("views", "fleetalign.detectors.views.detector:ViewsDetector", GROUP),
    "sharead": EntryPoint("sharead", "fleetalign.detectors.sharead.detector:ShareADDetector", GROUP),
}
"""The detectors of this package; no other package can replace one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """Default values of ``model`` and ``training`` for a detector.

    A detector without training needs the window alone.
    """

    window_steps: int
    epochs: int = 4
    batch_size: int = 256
    learning_rate: float = 1e-3
    max_windows_per_epoch: int = 25_600

    def training(self) -> dict[str, int | float]:
        """Return the values for ``training`` by setting."""
        return {
            name: getattr(self, name) for name in ("epochs", "batch_size", "learning_rate", "max_windows_per_epoch")
        }


class Configured(Protocol):
    """The part of ``fleetalign.detectors.detector.Detector`` that settings and plans depend on."""

    name: str
    defaults: Defaults
    internals: tuple[str, ...]
    condition_used: bool
    seconds_per_sample: float


def names() -> tuple[str, ...]:
    """Return the names of the built-in detectors, then those of installed packages."""
    installed = {point.name for point in entry_points(group=GROUP)}
    return (*BUILT_IN, *sorted(installed - set(BUILT_IN)))


@functools.cache
def find(name: str) -> Configured:
    """Return the detector called ``name``, one object per process.

    Raises:
        ConfigError: no detector has that name; the message lists the known ones.
    """
    point = BUILT_IN.get(name) or next(iter(entry_points(group=GROUP, name=name)), None)
    if point is None:
        known = ", ".join(map(repr, names()))
        raise ConfigError(f"model.network is {name!r}; must be one of {known}, or install the package that provides it")
    found: Configured = point.load()()
    if found.name != name:
        raise ConfigError(f"the entry point {name!r} of group {GROUP} is a detector named {found.name!r}; rename one")
    return found
