"""The old place of ``fleetalign.scoring.scorer``, importable through 0.x."""

import warnings

from fleetalign.scoring.scorer import *  # noqa: F403

warnings.warn(
    "fleetalign.release.scorer has moved to fleetalign.scoring.scorer and goes with version 1.0",
    DeprecationWarning,
    stacklevel=2,
)
