from __future__ import annotations

import numpy as np
import pytest

from fleetalign.errors import BadInput
from fleetalign.ingest.sampling import infer_step_seconds


def at(*seconds: float) -> np.ndarray:
    return np.datetime64("2024-01-01", "us") + (np.array(seconds) * 1e6).astype("timedelta64[us]")


def test_the_most_common_spacing_inside_an_entity_wins() -> None:
    assert infer_step_seconds(np.array([0, 1, 0, 1, 0, 0]), at(0, 30, 300, 330, 600, 660), "k") == 300


def test_jitter_duplicates_and_disorder_do_not_matter() -> None:
    assert infer_step_seconds(np.zeros(5, int), at(300.2, 0, 0, 599.9, 900.1), "k") == 300


def test_of_equally_common_spacings_the_shortest() -> None:
    assert infer_step_seconds(np.zeros(3, int), at(0, 60, 360), "k") == 60


def test_less_than_a_second_is_a_second() -> None:
    assert infer_step_seconds(np.zeros(2, int), at(0, 0.1), "k") == 1


@pytest.mark.parametrize("series", [[0], [0, 1]])
def test_no_spacing_asks_for_the_step(series: list[int]) -> None:
    with pytest.raises(BadInput, match=r"kind k: .*set steps: \{k: SECONDS\}"):
        infer_step_seconds(np.array(series), at(*range(len(series))), "k")


@pytest.mark.parametrize("step", [15, 60, 300, 600, 3600])
@pytest.mark.parametrize("jitter", [0.01, 0.05, 0.15, 0.3])
@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_jitter_that_spreads_the_spacings_does_not_hide_the_step(step: int, jitter: float, lost: float) -> None:
    random = np.random.default_rng(step)
    hosts, samples = 4, 400
    seconds = np.arange(samples) + random.uniform(0, 1, (hosts, 1)) + random.uniform(-jitter, jitter, (hosts, samples))
    stays = random.random((hosts, samples)) >= lost
    series = np.repeat(np.arange(hosts), samples)[stays.ravel()]
    assert infer_step_seconds(series, at(*(step * seconds[stays])), "k") == step
