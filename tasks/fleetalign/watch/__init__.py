"""What is looked at after a release: drift of telemetry, health of channels, the pages of the UI."""
