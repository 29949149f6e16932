"""Conformance suites that ship with the package, for your own store or scorer."""
