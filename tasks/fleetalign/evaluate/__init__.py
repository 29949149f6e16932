"""Measures of quality and gates; every figure is shown with its controls."""
