from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.evaluate.outcomes import EntityCounts, Points, count, mean


def counted(alarms: str, labels: str, judged: str | None = None, merge_steps: int = 1) -> EntityCounts:
    """Alarms ``x``; labels ``A`` anomaly, ``.`` normal, ``?`` unlabelled; judged ``-`` where yes."""
    codes = {"A": 1, ".": 0, "?": -1}
    mask = np.array([c == "-" for c in judged]) if judged else np.ones(len(labels), dtype=bool)
    return count(
        "service",
        "a",
        np.array([c == "x" for c in alarms]),
        np.array([codes[c] for c in labels], dtype=np.int8),
        mask,
        60,
        merge_steps,
    )


def test_a_page_inside_an_incident_is_a_hit_with_its_delay() -> None:
    found = counted("....xx....", "..AAAA....")
    assert (found.hits, found.missed, found.false_pages) == (1, 0, 0)
    assert found.delays_seconds == (120.0,)
    assert found.judged_seconds == 600.0


def test_a_page_that_began_before_has_no_delay() -> None:
    assert counted(".xxx......", "..AAAA....").delays_seconds == (0.0,)


def test_a_page_right_after_an_incident_is_false() -> None:
    found = counted("......x...", "..AAAA....")
    assert (found.hits, found.missed, found.false_pages) == (0, 1, 1)


def test_a_page_in_unlabelled_time_is_neither() -> None:
    found = counted("x......x..", "????..AA..")
    assert (found.hits, found.missed, found.false_pages) == (1, 0, 0)
    assert found.judged_seconds == 360.0


def test_a_page_that_reaches_into_labelled_time_is_false() -> None:
    assert counted("..xxx.....", "????......").false_pages == 1


def test_an_incident_across_the_cut_belongs_to_neither_side() -> None:
    found = counted("...xxxx...", "..AAAA....", judged="    ------")
    assert (found.hits, found.missed, found.false_pages) == (0, 0, 0)


def test_runs_closer_than_merge_steps_are_one_page() -> None:
    assert counted("x.x..x....", "..........", merge_steps=2).false_pages == 2


def test_points_ignore_what_is_not_judged() -> None:
    found = counted("xx..x..x..", "??AAAA....", judged="-------   ")
    assert found.points == Points(1, 0, 3)
    assert found.adjusted == Points(4, 0, 0)


@given(st.text("x.", min_size=1, max_size=40), st.data())
def test_counts_add_up(alarms: str, data: st.DataObject) -> None:
    labels = data.draw(st.text("A.?", min_size=len(alarms), max_size=len(alarms)))
    found = counted(alarms, labels)
    runs = len([run for run in "".join("A" if c == "A" else " " for c in labels).split()])
    assert found.hits + found.missed == runs == found.incidents
    assert len(found.delays_seconds) == found.hits
    assert found.points.true + found.points.missed == labels.count("A")
    assert found.adjusted.true >= found.points.true and found.adjusted.false == found.points.false
    everything = counted("x" * len(alarms), labels)
    assert everything.missed == 0 and everything.false_pages == (0 if runs or not labels.strip("?") else 1)


def test_mean_over_seeds_is_a_fraction_and_keeps_delays() -> None:
    runs = [counted("..x.......", "..AA......"), counted(".....x....", "..AA......")]
    found = mean(runs)
    assert (found.hits, found.missed, found.false_pages) == (0.5, 0.5, 0.5)
    assert found.delays_seconds == (0.0,)
    assert found.points == Points(0.5, 0.5, 1.5)
    assert found.judged_seconds == runs[0].judged_seconds


def test_mean_of_events_only_has_no_points() -> None:
    events = EntityCounts("service", "a", 1, 0, 0, 60.0)
    assert mean([events, events]).points is None
    assert mean([events, counted("x", "A")]).points is None


@pytest.mark.parametrize("labels", ["?????", "....."])
def test_nothing_to_find_counts_nothing(labels: str) -> None:
    assert counted(".....", labels).incidents == 0
