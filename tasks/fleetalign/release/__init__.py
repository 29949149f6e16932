"""Bundles that consumers can trust: immutable releases, channels that point to them, and the reference scorer."""
