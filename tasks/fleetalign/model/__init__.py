"""The shared detector: normalizer, network, training, export.

Import concrete modules directly.
"""
