"""Grouping figures against the definition, pair by pair."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from fleetalign.evaluate.groups import pair_precision_recall, whole_precision_recall

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12)


@given(LABELS)
def test_they_count_pairs(labels: list[tuple[int, int]]) -> None:
    pairs = [(a[0] == b[0], a[1] == b[1]) for a, b in itertools.combinations(labels, 2)]
    both = sum(found and true for found, true in pairs)
    expected = [both / n if n else math.nan for n in (sum(f for f, _ in pairs), sum(t for _, t in pairs))]
    measured = pair_precision_recall([a for a, _ in labels], [b for _, b in labels])
    assert [*map(str, measured)] == [*map(str, expected)]


def test_a_known_case() -> None:
    # Two faults of three pages each; one page was left alone, one went to the wrong incident.
    assert pair_precision_recall("aabccc", "xxxyyy") == (1.0, 4 / 6)
    assert pair_precision_recall("aaaabb", "xxxyyy") == (4 / 7, 4 / 6)


@given(LABELS)
def test_whole_groups_are_those_of_which_no_page_strays(labels: list[tuple[int, int]]) -> None:
    def share(mine: int, other: int) -> float:
        groups = [[row[other] for row in labels if row[mine] == name] for name in {row[mine] for row in labels}]
        several = [group for group in groups if len(group) > 1]
        return sum(len(set(group)) == 1 for group in several) / len(several) if several else math.nan

    measured = whole_precision_recall([a for a, _ in labels], [b for _, b in labels])
    assert [*map(str, measured)] == [str(share(0, 1)), str(share(1, 0))]


def test_a_known_case_of_whole_groups() -> None:
    assert whole_precision_recall("aabccc", "xxxyyy") == (1.0, 0.5)
    assert whole_precision_recall("aaaabb", "xxxyyy") == (0.5, 0.5)
