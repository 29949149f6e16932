"""Prometheus as a source of telemetry."""
