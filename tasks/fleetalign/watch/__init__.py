"""Watches published releases: drift of telemetry, health of channels, HTML pages of the UI."""
