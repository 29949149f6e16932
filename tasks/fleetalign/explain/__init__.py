"""Explains a release, an entity or a page, as text and as an HTML report with plots."""
