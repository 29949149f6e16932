from __future__ import annotations

import csv
import io
import json
import math
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.feedback import intervals
from fleetalign.evaluate.measures import NAB_PROFILES, NabProfile, nab_score

Series = list[tuple[np.ndarray, np.ndarray]]


@st.composite
def corpus(draw: st.DrawFn) -> Series:
    found = []
    for _ in range(draw(st.integers(1, 3))):
        runs = draw(st.lists(st.tuples(st.sampled_from([1, 0, 0, -1]), st.integers(1, 6)), min_size=1, max_size=8))
        labels = np.concatenate([np.full(length, label, dtype=np.int8) for label, length in runs])
        values = st.sampled_from([0.0, 0.3, 0.6, 1.0, float("nan")])
        found.append((np.array(draw(st.lists(values, min_size=len(labels), max_size=len(labels)))), labels))
    return found


def sigma(position: float) -> float:
    return -1.0 if position >= 3 else 2 / (1 + math.exp(5 * position)) - 1


def brute(series: Series, profile: NabProfile, threshold: float) -> float:
    """The raw sum at one threshold, row by row."""
    total = 0.0
    for scores, labels in series:
        alarms = scores >= threshold
        first = min(int(0.15 * len(scores)), 750)
        windows = intervals(labels == 1)
        for start, end in windows:
            rows = [row for row in range(max(start, first), end) if alarms[row]]
            if end > first:
                total += profile.true * sigma((rows[0] - end) / (end - start)) / sigma(-1) if rows else -profile.missed
        for row in range(first, len(scores)):
            if alarms[row] and labels[row] == 0:
                before = [(start, end) for start, end in windows if end <= row]
                start, end = before[-1] if before else (0, 0)
                total += profile.false * sigma((row - end + 1) / (end - start - 1) if end - start > 1 else 3)
    return total


@given(corpus(), st.sampled_from(list(NAB_PROFILES)))
def test_the_sweep_finds_what_trying_every_threshold_finds(series: Series, name: str) -> None:
    profile = NAB_PROFILES[name]
    cuts = np.unique(np.concatenate([scores[~np.isnan(scores)] for scores, _ in series] + [np.array([np.inf])]))
    tried = [brute(series, profile, cut) for cut in cuts]
    found = nab_score(series, profile)
    assert found.raw == pytest.approx(max(tried))
    assert brute(series, profile, found.threshold) == pytest.approx(found.raw)
    for cut, raw in zip(cuts, tried, strict=True):
        assert nab_score(series, profile, cut).raw == pytest.approx(raw)
        assert nab_score(series, profile, cut - 0.01).raw == pytest.approx(raw)


@given(corpus())
def test_perfect_is_100_and_silence_0_whatever_the_scale(series: Series) -> None:
    if not any((labels[min(int(0.15 * len(labels)), 750) :] == 1).any() for _, labels in series):
        assert np.isnan(nab_score(series).score)
        return
    for profile in NAB_PROFILES.values():
        found = nab_score(series, profile)
        assert nab_score([(np.exp(s), y) for s, y in series], profile).score == pytest.approx(found.score)
        assert 0 <= found.score <= 100 + 1e-9
        assert nab_score([(np.full(len(y), np.nan), y) for _, y in series], profile).score == 0
    late = [(np.append(np.zeros(10), y), np.append(np.zeros(10, np.int8), y)) for _, y in [(0, np.array([0, 1, 1, 0]))]]
    assert nab_score(late).score == pytest.approx(100)


def test_unlabelled_rows_earn_and_cost_nothing() -> None:
    labels = np.array([0] * 8 + [-1] * 4 + [1] * 4 + [0] * 4, np.int8)
    scores = np.zeros(20)
    scores[14] = 1
    noisy = np.where(labels == -1, 2.0, scores)
    assert nab_score([(noisy, labels)], threshold=0.5).raw == nab_score([(scores, labels)], threshold=0.5).raw


def test_unequal_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="equally long"):
        nab_score([(np.zeros(3), np.zeros(2, np.int8))])


@dataclass(frozen=True)
class Published:
    corpus: dict[str, Series]
    """Detector to its series, in the order of the files' names."""
    results: dict[str, dict[str, float]]
    thresholds: dict[str, dict[str, dict[str, float]]]
    values: list[np.ndarray]


@pytest.fixture(scope="module")
def published(shared_data: Path) -> Published:
    wanted = ("scores.parquet", "results/final_results.json", "config/thresholds.json")
    with tarfile.open(shared_data / "nab_core.tar.xz") as tar:
        kept = {m.name: tar.extractfile(m).read() for m in tar if m.name in wanted or m.name.endswith(".csv")}
    table = pq.read_table(io.BytesIO(kept["scores.parquet"]))
    table = table.set_column(table.schema.get_field_index("file"), "file", table["file"].cast("string"))
    table = table.sort_by([("file", "ascending"), ("row", "ascending")])
    found = {}
    for detector in ("numenta", "knncad", "windowedGaussian", "null"):
        mine = table.filter(pc.equal(table["detector"].cast("string"), detector))
        begins = np.flatnonzero(mine["row"].to_numpy() == 0)[1:]
        scores = np.split(mine["score"].to_numpy().astype(np.float64), begins)
        labels = np.split(mine["label"].to_numpy().astype(np.int8), begins)
        found[detector] = list(zip(scores, labels, strict=True))
    files = sorted(pc.unique(table["file"]).to_pylist())
    rows = [csv.DictReader(io.StringIO(kept[f"data/{name}"].decode())) for name in files]
    return Published(
        found,
        json.loads(kept["results/final_results.json"]),
        json.loads(kept["config/thresholds.json"]),
        [np.array([float(row["value"]) for row in series]) for series in rows],
    )


@pytest.mark.parametrize("profile", NAB_PROFILES)
@pytest.mark.parametrize("detector", ["numenta", "knncad", "null"])
def test_published_scores_are_reproduced(published: Published, detector: str, profile: str) -> None:
    series = published.corpus[detector]
    found = nab_score(series, NAB_PROFILES[profile])
    assert sum(len(intervals(labels == 1)) for _, labels in series) == 116
    if (detector, profile) == ("numenta", "reward_low_FP_rate"):
        # The published threshold is a local optimum of a hill climb; the sweep finds a better one.
        assert found.score == pytest.approx(63.2092, abs=1e-3)
        found = nab_score(series, NAB_PROFILES[profile], published.thresholds[detector][profile]["threshold"])
    assert found.score == pytest.approx(published.results[detector][profile], abs=1e-4)


def test_published_scores_of_the_windowed_gaussian(published: Published) -> None:
    """Its best threshold lies within 1e-12 of 1, where the stored float32 scores are all tied.

    So the detector is run again, in float64, checked against what is stored, and written with the 12 decimals of the
    result files that the published figures were computed from.
    """
    series = []
    for values, (stored, labels) in zip(published.values, published.corpus["windowedGaussian"], strict=True):
        scores = windowed_gaussian(values)
        np.testing.assert_allclose(scores, stored, atol=1e-7)
        series.append((np.round(scores, 12), labels))
    for name, profile in NAB_PROFILES.items():
        assert nab_score(series, profile).score == pytest.approx(published.results["windowedGaussian"][name], abs=1e-4)


def windowed_gaussian(values: np.ndarray, size: int = 6400, step: int = 100) -> np.ndarray:
    """1 minus the Gaussian tail of each value, under the window of earlier values; renewed every ``step`` once full."""
    scores = np.zeros(len(values))
    mean, deviation = 0.0, 1.0
    for row in range(1, len(values)):
        if row <= size or (row - size) % step == 0:
            window = values[max(row - size, 0) : row]
            mean, deviation = window.mean(), window.std() or 1e-6
        scores[row] = 1 - 0.5 * math.erfc(abs(values[row] - mean) / deviation / math.sqrt(2))
    return scores
