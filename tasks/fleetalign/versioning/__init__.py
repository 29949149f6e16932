"""Data versions: which bytes a plan was built from, kept in a DVC remote and named by a git revision."""
