"""Alignment: a few numbers per entity, fitted on operators' feedback.

The method is that of He et al. (TOSEM 2025), changed as docs/method.md says.

``shard_task`` is one mapped task: ``shard`` aligns a slice of the fleet, ``entity`` tabulates each entity's margins and
``sweep`` counts every threshold in one pass. ``reduce`` reads the shards: ``pool`` adds them up, ``choice`` and
``preference`` choose, ``aligner_rows``, ``threshold_drift`` and ``held_out`` write the result, and ``threshold_changes`` compares
two aligner tables. No module here needs torch.
"""
