"""Every error that fleetalign raises on purpose, its exit code, and whether a retry helps.

::

    FleetalignError                 exit code   retry helps
    ├── GateRefused                     1           no       a gate or check failed; the build is fine
    ├── UsageError                      2           no       wrong command line
    │   └── ConfigError                 2           no       wrong params.yaml or environment
    ├── BadInput                        3           no       bad telemetry or feedback; nothing was lost
    │   └── PartitionHeld               3           no       a critical expectation failed
    ├── StoreError                      4           yes      the store or the network
    │   ├── NotFound                    4           no       the key does not exist
    │   ├── Conflict                    4           yes      another writer swapped the key first
    │   └── Corrupt                     4           no       bytes differ from their recorded sha256
    └── NotReproducible                 5           no       the same plan gave other bytes: a bug

A message says what happened, where, and what to do; it fits on one line.
"""

from __future__ import annotations


class FleetalignError(Exception):
    """Root of the tree."""

    exit_code = 5
    """Exit code of the command-line process."""
    retry_helps = False
    """Whether Airflow retries the task."""


class GateRefused(FleetalignError):
    """A gate or check failed; the build itself is fine."""

    exit_code = 1


class UsageError(FleetalignError):
    """The command line or an argument is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting in params.yaml or an environment variable is wrong."""


class BadInput(FleetalignError):
    """Telemetry, feedback or a document cannot be used; nothing was lost."""

    exit_code = 3


class PartitionHeld(BadInput):
    """A critical expectation failed, so the partition is held back."""


class StoreError(FleetalignError):
    """The store or the network failed."""

    exit_code = 4
    retry_helps = True


class NotFound(StoreError):
    """The key does not exist."""

    retry_helps = False


class Conflict(StoreError):
    """Another writer changed the key first."""


class Corrupt(StoreError):
    """The bytes differ from their recorded sha256."""

    retry_helps = False


class NotReproducible(FleetalignError):
    """The same plan gave other bytes: a bug, or another machine."""

    exit_code = 5
