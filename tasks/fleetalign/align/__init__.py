"""Alignment: a few numbers per entity, learned from what operators said (He et al., TOSEM 2025; see docs/method.md).

``plan`` writes down what a build is made of, ``entity`` turns one entity's scores into tables over a fixed grid,
``shard`` does that for a slice of the fleet, ``fleet`` reduces the tables to aligner rows. No torch.
"""
