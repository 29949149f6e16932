"""Watches a published release: drift of telemetry, health of channels, the HTML pages of the UI."""
