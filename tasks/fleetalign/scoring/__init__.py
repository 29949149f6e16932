"""The consumer of a release: scores telemetry.

It imports only contracts, storage, errors and interval.
"""
