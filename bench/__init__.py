"""Measures fleetalign beside the published way of doing the same. Import concrete modules directly."""
