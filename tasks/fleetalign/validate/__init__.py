"""Raw partitions to validated ones.

Arrow decides about cells, rows and series, Great Expectations about whole partitions.
"""
