"""Where scores and alarms go: files, OpenMetrics, Alertmanager."""
