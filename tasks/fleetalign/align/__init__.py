"""Alignment: a few numbers per entity, fitted on operators' feedback (He et al., TOSEM 2025; see docs/method.md).

``shard_task`` is one mapped task: ``shard`` aligns a slice of the fleet, ``entity`` tabulates each entity's margins and
``sweep`` counts every threshold in one pass. ``reduce`` reads the shards: ``pool`` adds them up, ``choice`` and
``preference`` choose, ``aligner_rows``, ``threshold_drift`` and ``held_out`` write the result, and ``threshold_changes`` compares
two aligner tables. No module here needs torch.
"""
