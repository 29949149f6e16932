"""Requests by window: the accumulator ``span_stats``, duplicates, and telemetry from it.

Knows no file format: whatever reads requests gives arrays, and everything here is the same for any order of them.
"""
