from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.storage.windows import WindowIndex, split


def brute_force(panel, start, stop, window):
    steps = panel.values.shape[1]
    return [
        (entity, end)
        for entity, (first, last) in enumerate(zip(panel.first, panel.last, strict=True))
        for end in range(steps)
        if max(start, first) <= end - window + 1 and end <= min(last, stop - 1)
    ]


@settings(max_examples=200)
@given(st.data())
def test_numbers_map_one_to_one_to_the_windows_that_exist(as_panel, data):
    entities, steps = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 30))
    bounds = [
        sorted(data.draw(st.tuples(st.integers(0, steps - 1), st.integers(0, steps - 1)))) for _ in range(entities)
    ]
    first = np.array([b[0] for b in bounds], dtype=np.int64)
    last = np.array([b[1] for b in bounds], dtype=np.int64)
    for entity in range(entities):
        if data.draw(st.booleans()):
            first[entity], last[entity] = steps, -1  # as an entity without rows
    start, stop = sorted(data.draw(st.tuples(st.integers(0, steps), st.integers(0, steps))))
    window = data.draw(st.integers(1, 8))
    panel = as_panel(np.zeros((entities, steps, 1)), first, last)
    index = WindowIndex(panel, start, stop, window)
    assert list(zip(*(a.tolist() for a in index.locate(np.arange(len(index)))), strict=True)) == brute_force(
        panel, start, stop, window
    )


def test_exactly_one_window_fits_and_one_step_less_fits_none(as_panel):
    panel = as_panel(np.zeros((1, 20, 1)))
    assert len(WindowIndex(panel, 0, 20, 20)) == 1
    assert len(WindowIndex(panel, 1, 20, 20)) == 0
    assert len(WindowIndex(panel, 0, 19, 20)) == 0


def test_gather_gives_the_samples_up_to_the_end(make_panel):
    panel = make_panel(entities=3, steps=40, metrics=2)
    index = WindowIndex(panel, 5, 38, 8)
    numbers = np.array([len(index) - 1, 0, 30])
    batch = index.gather(numbers)
    for row, (entity, end) in enumerate(zip(*index.locate(numbers), strict=True)):
        assert batch.entity[row] == entity
        np.testing.assert_array_equal(batch.values[row], panel.values[entity, end - 7 : end + 1].T)


def test_lags_reach_before_the_range_and_are_missing_before_the_panel(make_panel):
    panel = make_panel(entities=3, steps=40, metrics=2)
    index = WindowIndex(panel, 12, 38, 8, lags=(3, 15, 30))
    numbers = np.arange(len(index))
    batch = index.gather(numbers)
    assert batch.seasonal.shape == (len(index), 2, 3)
    for row, (entity, end) in enumerate(zip(*index.locate(numbers), strict=True)):
        for column, lag in enumerate((3, 15, 30)):
            expected = panel.values[entity, end - lag] if end >= lag else [np.nan] * 2
            np.testing.assert_array_equal(batch.seasonal[row, :, column], expected)
    assert np.isnan(batch.seasonal[:, :, 2]).any() and not np.isnan(batch.seasonal[:, :, :2]).any()
    assert WindowIndex(panel, 12, 38, 8).gather(numbers).seasonal.shape == (len(index), 2, 0)


def test_places_are_the_windows_that_batches_gather(as_panel):
    values = np.random.default_rng(0).normal(size=(2, 60, 2))
    values[:, ::7] = np.nan
    index = WindowIndex(as_panel(values), 0, 60, 10)
    numbers = index.sample(70, 1, 0)
    places, batches = list(index.places(numbers, 16, skip=1)), list(index.batches(numbers, 16, skip=1))
    for (entity, end), batch in zip(places, batches, strict=True):
        np.testing.assert_array_equal(entity, batch.entity)
        np.testing.assert_array_equal(values[entity, end], batch.values[:, :, -1])
    assert sum(len(entity) for entity, _ in places) < 70 - 16


def test_a_window_is_skipped_only_when_every_metric_of_its_newest_sample_is_missing(as_panel):
    values = np.ones((1, 12, 2))
    values[0, 6] = np.nan
    values[0, 8, 0] = np.nan
    index = WindowIndex(as_panel(values), 0, 12, 4)
    ends = index.locate(np.arange(len(index)))[1]
    batch = index.gather(np.arange(len(index)))
    assert len(batch.entity) == len(ends) - 1
    assert np.isnan(batch.values).any(axis=1)[:, -1].sum() == 1


def test_drawing_is_seeded_without_repeats_and_bounded(as_panel):
    index = WindowIndex(as_panel(np.zeros((3, 100, 1))), 0, 100, 10)
    drawn = index.sample(50, seed=1, epoch=0)
    assert len(set(drawn.tolist())) == 50
    assert drawn.min() >= 0 and drawn.max() < len(index)
    np.testing.assert_array_equal(drawn, index.sample(50, seed=1, epoch=0))
    assert drawn.tolist() != index.sample(50, seed=1, epoch=1).tolist()
    assert drawn.tolist() != index.sample(50, seed=2, epoch=0).tolist()
    assert sorted(index.sample(10_000, seed=1, epoch=0)) == list(range(len(index)))


def test_drawing_from_a_billion_windows_takes_little_memory(as_panel):
    """No array grows with the number of windows: the panel here is a view of one number."""
    import tracemalloc

    entities, steps = 10_000, 200_000
    panel = as_panel(np.broadcast_to(np.zeros(1), (entities, steps, 1)))
    tracemalloc.start()
    index = WindowIndex(panel, 0, steps, 100)
    drawn = index.sample(40_000, seed=0, epoch=0)
    batch = index.gather(drawn[:128])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == entities * (steps - 99)
    assert batch.values.shape == (128, 1, 100)
    assert peak < 20 * 2**20


def test_batches_resume_where_they_are_told(make_panel):
    index = WindowIndex(make_panel(entities=2, steps=60), 0, 60, 10)
    numbers = index.sample(25, 0, 0)
    whole = list(index.batches(numbers, 10))
    rest = list(index.batches(numbers, 10, skip=1))
    assert [len(b.entity) for b in whole] == [10, 10, 5]
    for a, b in zip(whole[1:], rest, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


def test_training_and_validation_lie_one_window_apart(as_panel):
    training, validation = split(as_panel(np.zeros((1, 100, 1))), 0, 100, 10, 0.2)
    last_trained = training.locate(np.array([len(training) - 1]))[1][0]
    first_validated = validation.locate(np.array([0]))[1][0] - 9
    assert (last_trained, first_validated) == (69, 80)
    assert validation.locate(np.array([len(validation) - 1]))[1][0] == 99


def test_a_short_range_trains_whole_without_validation(as_panel):
    training, validation = split(as_panel(np.zeros((1, 29, 1))), 0, 29, 10, 0.2)
    assert validation is None
    assert len(training) == 20
