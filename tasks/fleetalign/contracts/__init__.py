"""Everything that crosses a boundary: Arrow tables, JSON documents, identifiers.

No I/O, no defaults, no policy.
"""
