"""Detection on labelled telemetry, beside controls and the published way."""
