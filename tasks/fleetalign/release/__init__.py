"""Releases: built, judged, published, promoted, rolled back, verified and collected."""
