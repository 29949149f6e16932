"""Measures of a grouping of pages, over pairs, because groupings share no names of groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def pair_precision_recall(found: Sequence[Hashable], true: Sequence[Hashable]) -> tuple[float, float]:
    """Compute precision and recall of the pairs of pages that ``found`` puts together.

    ``found`` and ``true`` name the group of each page. Precision: of the pairs put together, the share that belong
    together; recall: of those that belong together, the share put together. NaN where there is no such pair.
    """
    agreed = _pairs(zip(found, true, strict=True))
    together, belonging = _pairs(found), _pairs(true)
    return agreed / together if together else float("nan"), agreed / belonging if belonging else float("nan")


def _pairs(groups: Iterable[Hashable]) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(groups).values())


def whole_precision_recall(found: Sequence[Hashable], true: Sequence[Hashable]) -> tuple[float, float]:
    """Compute precision and recall of whole groups, counting only those with several pages.

    Precision: the share of groups in ``found`` whose pages belong to one group of ``true``; recall: the share of groups in
    ``true`` whose pages are all in one group of ``found``. NaN where no group has several pages.
    """
    return _kept_whole(found, true), _kept_whole(true, found)


def _kept_whole(groups: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    members: dict[Hashable, list[Hashable]] = {}
    for name, elsewhere in zip(groups, other, strict=True):
        members.setdefault(name, []).append(elsewhere)
    several = [names for names in members.values() if len(names) > 1]
    return sum(len(set(names)) == 1 for names in several) / len(several) if several else float("nan")
