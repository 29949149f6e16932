"""Phases: no sample is lost to jitter below half a step, wherever in the interval an entity reports."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.phases import Phases, fit_phases, nearest_slots, newest_phases, phase_table
from fleetalign.contracts.tables import PHASES

STEP, MICROSECONDS = 60, 1_000_000
START = np.datetime64("2024-05-01", "us")


def times(seconds: list[float]) -> np.ndarray:
    return START + np.array([round(s * MICROSECONDS) for s in seconds], dtype="timedelta64[us]")


def fitted(seconds: list[float]) -> float:
    return float(fit_phases(times(seconds), np.zeros(len(seconds), dtype=np.int64), STEP)[0] / MICROSECONDS)


@pytest.mark.parametrize(
    ("seconds", "phase"),
    [
        ([0, 60, 120], 0),
        ([7, 67, 127], 7),
        ([45, 105, 165], 45),  # reports late in its minute, never beyond it: the minute is the one it reports in
        ([59, 119, 179], 59),
        ([-2, 60, 122], 0),  # jitter on both sides of the full minute
        ([58, 118, 181], -2),
        ([20, 85, 140, 200], 20),
        ([50, 122, 170, 230], -10),
        ([30], 30),
    ],
)
def test_where_in_the_interval_an_entity_reports(seconds: list[float], phase: float) -> None:
    assert fitted(seconds) == phase


@given(
    st.floats(0, 60),
    st.lists(st.floats(-29.9, 29.9), min_size=3, max_size=40),
    st.integers(0, 2**32 - 1),
)
def test_jitter_below_half_a_step_loses_no_sample(phase: float, wanted: list[float], seed: int) -> None:
    # Half of the samples are where the entity means to report, so that its median is known.
    jitter = np.array([*wanted, *([0.0] * (len(wanted) + 1))])
    jitter = np.random.default_rng(seed).permutation(jitter)
    at = times((phase + STEP * np.arange(len(jitter)) + jitter).tolist())
    phases = fit_phases(at, np.zeros(len(at), dtype=np.int64), STEP)
    slots = nearest_slots(at, STEP, np.repeat(phases, len(at)), START)
    assert np.array_equal(np.diff(slots), np.ones(len(at) - 1))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**9)), min_size=1))
def test_groups_are_fitted_as_if_alone(samples: list[tuple[int, int]]) -> None:
    groups = np.unique([group for group, _ in samples], return_inverse=True)[1]
    at = START + np.array([offset for _, offset in samples], dtype="timedelta64[us]")
    together = fit_phases(at, groups, STEP)
    alone = [
        fit_phases(at[groups == g], np.zeros((groups == g).sum(), dtype=np.int64), STEP)[0]
        for g in range(groups.max() + 1)
    ]
    assert together.tolist() == alone


def test_an_unknown_entity_has_phase_0_and_rows_are_timed_at_their_slots() -> None:
    phases = Phases(phase_table("web", pa.array(["a"]), np.array([40 * MICROSECONDS])))
    rows = pa.table({"entity_id": ["a", "a", "b", "b"], "timestamp": times([35, 65, 29, 31])})
    moved = phases.on_grid(rows, STEP)["timestamp"].to_numpy().astype("datetime64[us]")
    assert ((moved - START) / np.timedelta64(1, "s")).tolist() == [0, 0, 0, 60]


def test_the_newest_phase_counts_and_0_needs_no_row() -> None:
    old = phase_table("web", pa.array(["a", "b", "c"]), np.array([1, 2, 3]))
    new = phase_table("web", pa.array(["a", "b"]), np.array([5, 0]))
    assert newest_phases([old, new]).to_pylist() == [
        {"kind": "web", "entity_id": "a", "phase_us": 5},
        {"kind": "web", "entity_id": "c", "phase_us": 3},
    ]
    assert newest_phases([]).equals(PHASES.empty())
