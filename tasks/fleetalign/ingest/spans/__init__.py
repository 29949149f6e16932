"""Requests of files: OTLP JSON, Zipkin JSON and request records, windowed into telemetry."""
