"""Alignment: a few numbers per entity, learned from what operators said (He et al., TOSEM 2025; see docs/method.md).

``plan`` writes down what a build is made of, ``due`` says when one is. ``signal`` gives one entity's margins at every candidate of ``grid``, ``entity``
turns them into tables (``levels`` counts all thresholds in one pass), ``shard`` does that for a slice of the fleet. ``reduce``
reads the shards: ``pool`` adds them up, ``choice`` and ``preference`` choose, ``fleet``, ``drift`` and ``held_out`` write rows.
No torch.
"""
