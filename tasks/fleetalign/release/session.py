"""The old place of ``fleetalign.scoring.session``, importable through 0.x."""

import warnings

from fleetalign.scoring.session import *  # noqa: F403

warnings.warn(
    "fleetalign.release.session has moved to fleetalign.scoring.session and goes with version 1.0",
    DeprecationWarning,
    stacklevel=2,
)
