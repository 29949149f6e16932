"""Honest measures: every figure of quality stands beside its controls."""
