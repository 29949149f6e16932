"""Every error that fleetalign raises on purpose, and what the caller may do about it.

::

    FleetalignError                 exit code   retry helps
    ├── GateRefused                     1           no       a gate or check said no; the build is fine
    ├── UsageError                      2           no       wrong command line
    │   └── ConfigError                 2           no       wrong params.yaml or environment
    ├── BadInput                        3           no       bad telemetry or feedback; nothing was lost
    │   └── PartitionHeld               3           no       a critical expectation failed
    ├── StoreError                      4           yes      the store or the network
    │   ├── NotFound                    4           no       the key does not exist
    │   ├── Conflict                    4           yes      somebody else swapped the key first
    │   └── Corrupt                     4           no       bytes differ from their recorded sha256
    └── NotReproducible                 5           no       the same plan gave other bytes: a bug

A message says what happened, where, and what to do; it fits on one line.
"""

from __future__ import annotations


class FleetalignError(Exception):
    """Root of the tree. ``exit_code`` is the process's, ``retry_helps`` decides Airflow's retry."""

    exit_code = 5
    retry_helps = False


class GateRefused(FleetalignError):
    exit_code = 1


class UsageError(FleetalignError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class BadInput(FleetalignError):
    exit_code = 3


class PartitionHeld(BadInput):
    pass


class StoreError(FleetalignError):
    exit_code = 4
    retry_helps = True


class NotFound(StoreError):
    retry_helps = False


class Conflict(StoreError):
    pass


class Corrupt(StoreError):
    retry_helps = False


class NotReproducible(FleetalignError):
    exit_code = 5
