"""Conformance suites that ship: run them over your own store or scorer."""
