"""Data versions: the bytes of a plan in a DVC remote, named by a git revision."""
