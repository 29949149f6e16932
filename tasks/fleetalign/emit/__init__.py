"""Sends scores and alarms to files, OpenMetrics and Alertmanager."""
