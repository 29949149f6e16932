"""Finds a detector by name: the built-in ones, and those that installed packages register.

A package registers the subclass of ``Detector`` as an entry point of group ``fleetalign.detectors``. It is imported when it is
first asked for; importing a detector imports no torch.
"""

from __future__ import annotations

from typing import cast

from fleetalign.config import detectors
from fleetalign.detectors.detector import Detector


def detector(name: str) -> Detector:
    """Return the detector that ``model.network``, a model card or a manifest names.

    Raises:
        ConfigError: no detector has that name; the message lists the known ones.
    """
    return cast(Detector, detectors.find(name))
