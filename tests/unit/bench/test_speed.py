"""Turns, arithmetic and shape of the speed benchmark. No time is asserted: clocks here are made up."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from bench import published
from bench.speed import alignment, memory, product, run, sizes, synthetic, whole_build
from bench.speed.interleave import interleave, speedup, spread, topic
from fleetalign.errors import BadInput

TINY = run.Size(
    rounds=2,
    training_windows=128,
    scoring_windows=8,
    batch_sizes=(1, 4),
    align_rounds=1,
    align_samples=400,
    fleet=4,
    memory_windows=128,
    build_rounds=1,
    build_entities=2,
    build_days=2,
)


class Clock:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def takes(self, seconds: float):
        def work() -> None:
            self.now += seconds

        return work


def test_the_order_turns_round_and_warm_up_is_not_timed():
    clock, calls = Clock(), []
    sides = {n: (lambda n=n: (calls.append(n), clock.takes(1.0)())) for n in "abc"}
    seconds = interleave(sides, 3, clock=clock)
    assert "".join(calls) == "abc" + "abc" + "cba" + "abc"
    assert seconds == {n: [1.0] * 3 for n in "abc"}


def test_what_happens_before_a_call_is_outside_its_time():
    clock, told = Clock(), []
    seconds = interleave(
        {"a": clock.takes(2.0), "b": clock.takes(3.0)},
        2,
        warm_up=False,
        before=lambda name: clock.takes(100.0)(),
        after_call=lambda done, total: told.append((done, total)),
        clock=clock,
    )
    assert seconds == {"a": [2.0, 2.0], "b": [3.0, 3.0]}
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_ratio_divides_medians_and_its_range_goes_round_by_round():
    slow, fast = [10.0, 12.0, 20.0], [1.0, 2.0, 4.0]
    assert spread(slow) == {"median": 12.0, "min": 10.0, "max": 20.0}
    assert speedup(slow, fast) == {"median": 6.0, "min": 5.0, "max": 10.0}


def test_a_topic_is_a_rate_or_a_time_per_piece_of_work():
    seconds = {"published": [4.0, 2.0], "other": [1.0, 2.0]}
    rate = topic("t", "w", seconds, unit="windows/s", work=8)
    assert rate["sides"]["published"]["figure"] == {"median": 3.0, "min": 2.0, "max": 4.0}
    assert rate["sides"]["other"]["speedup"] == {"published": {"median": 2.0, "min": 1.0, "max": 4.0}}
    assert rate["sides"]["published"]["speedup"] == {}
    time = topic("t", "w", seconds, unit="ms/entity", work=2)
    assert time["sides"]["other"]["figure"] == {"median": 750.0, "min": 500.0, "max": 1000.0}
    assert topic("t", "w", {"other": [1.0]}, unit="s", work=1)["baselines"] == []


def test_telemetry_is_the_same_for_the_same_seed_and_holds_incidents():
    one, again, other = (synthetic.simulated(2, 2_000, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.panel.values, again.panel.values)
    assert not np.array_equal(one.panel.values, other.panel.values)
    assert one.panel.values.shape == (2, 2_000, synthetic.METRICS) and np.isfinite(one.panel.values).all()
    assert len(one.incidents(0)) >= 1 and (one.scale > 0).all()
    windows = one.windows(1, 5, 100)
    assert np.array_equal(windows[2], one.panel.values[1, 2:102].T)


def test_labelled_telemetry_is_read_and_refused_when_short(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids, count = ["a", "b"], 60
    values = np.arange(120.0)
    values[3] = np.nan
    table = pa.table(
        {
            "entity_id": pa.array(np.repeat(ids, count)).dictionary_encode(),
            "timestamp": np.tile(synthetic.START + np.arange(count) * np.timedelta64(300, "s"), 2),
            "split": ["test"] * 120,
            "m0": values,
            "label": [None, 1.0] + [0.0] * 118,
        }
    )
    pq.write_table(table, tmp_path / "services.parquet")
    found = synthetic.read(tmp_path, 2, 60)
    assert found.panel.values[0, :5, 0].tolist() == [0, 1, 2, 2, 4]
    assert found.labels[0, :3].tolist() == [0, 1, 0]
    with pytest.raises(BadInput, match="fewer than 2 entities of 61"):
        synthetic.read(tmp_path, 2, 61)
    with pytest.raises(BadInput, match="must hold services"):
        synthetic.read(tmp_path / "nowhere", 2, 60)


def test_every_network_of_the_settings_is_measured():
    assert "sharead" in product.names()


@pytest.fixture(scope="module", params=product.names())
def exported(request) -> product.Exported:
    return product.export(request.param, synthetic.simulated(2, 700, 8), 128)


def test_a_batch_feeds_every_role_of_the_graph(exported):
    scored = exported.graph.run(exported.feeds(synthetic.simulated(2, 700, 8), 1, 5))
    assert scored.score.shape == (5,) and np.isfinite(scored.score).all()
    assert np.allclose(scored.contribution.sum(axis=1), 1, atol=1e-5)


def test_a_network_that_looks_at_earlier_periods_finds_one(exported):
    """Without a period its graph would be smaller than the one that users run."""
    assert exported.card["condition_used"] or exported.card["seasonal_lags_steps"]


def test_a_process_scores_and_aligns_with_the_exported_graph(exported, tmp_path, capsys):
    model = tmp_path / "model"
    model.write_bytes(exported.model)
    (tmp_path / "model.json").write_text(json.dumps(exported.card))
    memory.main([exported.name, "align", "1", "700", "128", str(model)])
    assert json.loads(capsys.readouterr().out)["peak_bytes"] > 0


def test_feedback_is_spoken_about_the_last_part_only(tmp_path):
    from fleetalign import steps

    series = synthetic.simulated(2, 2 * synthetic.STEPS_PER_DAY, 3)
    uri = f"file://{tmp_path}/store"
    whole_build.fill_store(uri, series)
    planned = steps.plan(whole_build.settings("sharead"), uri)
    first = series.panel.times[whole_build.feedback_from(series)]
    assert planned["partitions"] == 2
    assert planned["kinds"][synthetic.KIND]["entities"] == 2
    start = np.datetime64(planned["kinds"][synthetic.KIND]["ranges"]["calibrate"]["start"].removesuffix("Z"))
    assert np.timedelta64(0) <= start - first < np.timedelta64(1, "h"), "feedback moves no range"


def test_rows_of_a_thousand_entities():
    series = synthetic.simulated(3, 400, 4)
    assert sizes.aligner_rows().num_rows == sizes.ENTITIES
    rows = sizes.normalizer_rows(series)
    assert rows.num_rows == (sizes.ENTITIES + 1) * synthetic.METRICS
    assert len(set(rows["entity_id"].to_pylist())) == sizes.ENTITIES + 1
    more = sizes.normalizer_rows(series, ["recent_error", "smoothing"])
    assert set(more.schema.names) - set(rows.schema.names) == {"recent_error", "smoothing"}


def test_a_process_tells_its_peak():
    found = memory.peak("published", "train", 1, 300, 128)
    assert 0 < found["imports_bytes"] <= found["peak_bytes"]


def test_loss_curves_of_two_devices_are_compared_without_random_draws():
    series = synthetic.simulated(2, 400, 5)
    for name in product.names():
        same = run.curve_difference(name, series, 128, "cpu")
        assert same["relative_difference"] == 0 and same["loss"] > 0


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run with real turns of everything that is quick, and made-up builds and memory."""
    out = tmp_path_factory.mktemp("speed")
    numbers = itertools.count(1)
    progress = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "peak", lambda *a: {"peak_bytes": next(numbers) << 20, "imports_bytes": 1 << 20})
        patch.setattr(whole_build, "build", lambda network, uri: {"plan": 1.0, "release": 2.0})
        patch.setattr(whole_build, "published_build", lambda series: [])
        result = run.run(out, False, lambda *a: progress.append(a), size=TINY)
    return out, result, progress


def test_a_run_holds_every_topic_for_every_network(measured):
    out, result, _ = measured
    names = set(product.names())
    assert list(result["topics"]) == [
        "training", "history_1", "history_4", "scoring_1", "scoring_4", "alignment", "alignment_with_scoring", "build",
    ]  # fmt: skip
    for name in ("training", "history_1", "scoring_1", "alignment_with_scoring", "build"):
        found = result["topics"][name]
        assert set(found["sides"]) - {"published", "published, no gradients"} == names
        assert all(side["figure"]["median"] > 0 for side in found["sides"].values())
    assert len(result["topics"]["training"]["sides"]["published"]["seconds"]) == TINY.rounds
    assert set(result["topics"]["scoring_1"]["sides"]["sharead"]["speedup"]) == {
        "published", "published, no gradients",
    }  # fmt: skip
    assert set(result["memory"]["align"]) == names | {"published", "published, no gradients"}
    assert set(result["sizes"]["model_bytes"]) == names | {"published"}
    assert set(result["sizes"]["normalizer_bytes_per_metric"]) == names
    assert json.loads((out / "speed.json").read_text()) == result


def test_alignment_has_a_row_per_way(measured):
    """Choosing for the fleet is no row of its own: every entity carries its share."""
    sides = measured[1]["topics"]["alignment"]["sides"]
    ours = [row for name in product.names() for row in (name, f"{name}, no controls")]
    assert list(sides) == ["published", "published_tpe", *ours]


def test_progress_counts_every_call(measured):
    calls = [c for c in measured[2] if c[2] == "speed: train cpu"]
    sides = 1 + len(product.names())
    assert calls == [(i + 1, sides * (TINY.rounds + 1), "speed: train cpu") for i in range(len(calls))]
    assert len(calls) == sides * (TINY.rounds + 1)


def test_tables_say_what_ratios_divide_by(measured):
    text = run.tables(measured[1])
    assert "× published, no gradients |" in text and "divided by the row's" in text
    assert "torch finds no CUDA device" in text or measured[1]["cuda"]
    assert "peak ÷ published's peak" in text and "÷ published model" in text
    for block in text.split("\n\n"):
        if block.startswith("| "):
            widths = {line.count("|") for line in block.splitlines()}
            assert len(widths) == 1, block


def test_tables_judge_the_loss_curve_of_cuda(measured):
    result = measured[1]
    parity = {"cpu_loss": 0.5, "loss": 0.6, "relative_difference": 0.2}
    cuda = {"device": "GPU", "training": result["topics"]["training"], "parity": {"sharead": parity}}
    text = run.tables({**result, "cuda": cuda})
    assert "2.0e-01 relative, NOT within 1e-05" in text


def test_one_small_picture(measured, tmp_path):
    paths = run.plots(measured[1], tmp_path)
    assert [p.name for p in paths] == ["speed.png"]
    assert paths[0].read_bytes().startswith(b"\x89PNG") and paths[0].stat().st_size < 60_000


def test_calibration_keeps_the_incidents_inside():
    series = synthetic.simulated(1, 2_000, 6)
    given = alignment.calibration(series, 0, 500, controls=False)
    assert len(given.labels) == 1_500 and len(given.shifts) == 0
    assert all(given.labels[a:b].all() for a, b in given.incidents)


def test_published_windows_of_one_entity_start_where_told():
    series = synthetic.simulated(2, 300, 7)
    dataset = published.windows_of(series, 1, 100)
    assert len(dataset) == 200 - published.WINDOW_STEPS + 1
    expected = (series.panel.values[1, 100:200] - series.location[1]) / series.scale[1]
    np.testing.assert_allclose(dataset[0].numpy(), expected.T, rtol=1e-5, atol=1e-5)
