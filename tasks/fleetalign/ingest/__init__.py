"""Telemetry and feedback in: sources to raw partitions.

What cannot be used is quarantined with a reason.
"""
