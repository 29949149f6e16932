"""The whole benchmark on a toy network: same seed, same numbers; judged labels change figures and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import example
from bench.detection import curves, jobs, learned, methods, run
from bench.detection.decisions import EVENTS, PUBLISHED
from bench.detection.learned import Learned
from fleetalign.config import AlignConfig, AlignGrid, ModelConfig
from fleetalign.detectors.registry import detector
from fleetalign.errors import BadInput
from fleetalign.model import normalizer
from fleetalign.testing.graphs import toy_model

SIZE = run.Size(
    seeds=(1, 2),
    control_networks=1,
    few=False,
    epochs=1,
    windows=64,
    validation_windows=10,
    curve_samples=0,
    shift_seeds=2,
    bootstrap_samples=50,
)
SMALL = replace(SIZE, seeds=(1,))
FAST = AlignConfig(grid=AlignGrid(tpe_trials=2), min_history_steps=50)
TIMES = ("seconds", "job_seconds", "time", "align_seconds")


def toy_fit(given, network, seed, training, *, blocks=2, untrained=False):
    """Stands for training and export, which take half a minute: the seed is the window's length."""
    window = 16 + seed
    card = {
        "condition_used": True, "window_steps": window, "seasonal_lags_steps": [], "statistics_columns": [],
        "period_steps": None,
    }  # fmt: skip
    import onnx

    model = onnx.load_model_from_string(toy_model(window))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = window
    table = normalizer.build(given.training, ModelConfig(), 50).table()
    made = Learned(detector("sharead"), model.SerializeToString(), card, table, {"train": 0.0, "export": 0.0})
    return made, made if untrained else None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(learned, "fit", toy_fit)
    monkeypatch.setattr(jobs, "AlignConfig", lambda: FAST)
    example.write(tmp_path / "data" / "pumps.parquet", entities=3, train=300, test=600)
    example.write(tmp_path / "data" / "valves.parquet", entities=2, train=300, test=600, seed=2)
    return tmp_path / "data"


def measured(folder, out, size=SIZE):
    return run.run(folder, out, True, size=size, workers=0)


def timeless(value):
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def test_the_same_seeds_give_the_same_numbers(folder, tmp_path):
    calls = []
    first = run.run(folder, tmp_path / "a", True, lambda *c: calls.append(c), size=SIZE, workers=0)
    second = measured(folder, tmp_path / "b")
    assert timeless(first) == timeless(second)
    assert json.loads((tmp_path / "a" / "detection.json").read_text()) == first
    assert calls[-1][:2] == (len(calls), len(calls)) and calls[-1][0] == 2 * 7

    assert list(first["sets"]) == ["pumps", "valves"]
    found = first["sets"]["pumps"]
    assert [row["method"] for row in found["ranking"]] == list(methods.ORDER)
    assert {row["method"]: row["seeds"] for row in found["ranking"]}[methods.SHAREAD] == 2
    reference = next(r for r in found["decisions"] if (r["method"], r["policy"]) == (methods.SHAREAD, PUBLISHED))
    assert "difference" not in reference["measures"]["event_f1"]
    other = next(r for r in found["decisions"] if (r["method"], r["policy"]) == (methods.VIEWS, EVENTS))
    for measure in ("event_f1", "false_pages_per_entity_day", "point_adjusted_f1", "affiliation_f1"):
        apart = other["measures"][measure]["difference"]
        assert apart["low"] <= apart["high"]
    assert other["measures"]["event_f1"]["value"] > other["measures"]["event_f1"]["random"]


def test_judged_labels_change_figures_but_no_choice(folder, tmp_path):
    before = measured(folder, tmp_path / "a", SMALL)
    path = folder / "pumps.parquet"
    table = pq.read_table(path)
    rows = table.to_pandas()
    label = rows["label"].to_numpy(dtype=float, copy=True)
    for entity in rows.entity_id.unique():
        at = np.flatnonzero(((rows.entity_id == entity) & (rows.split == "test")).to_numpy())
        late = at[int(0.3 * len(at)) + 60 :]
        label[late] = np.roll(label[late], 37)
    column = pa.array(np.nan_to_num(label).astype(np.uint8), mask=np.isnan(label))
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", column), path)
    after = measured(folder, tmp_path / "b", SMALL)
    left, right = before["sets"]["pumps"], after["sets"]["pumps"]
    assert [d["chosen"] for d in left["decisions"]] == [d["chosen"] for d in right["decisions"]]
    assert left["ranking"] != right["ranking"]
    assert timeless(before["sets"]["valves"]) == timeless(after["sets"]["valves"])


def test_tables_and_small_pictures(folder, tmp_path):
    result = measured(folder, tmp_path, SMALL)
    point = {"vus_pr": 0.5, "event_f1": None, "false_pages_per_entity_day": 0.1}
    for found in result["sets"].values():
        found["masked_metrics"] = [
            {"method": methods.VIEWS, "dropped": n, "thresholds": t, **point}
            for n in (0, 1)
            for t in (curves.KEPT, curves.FOLLOWED_DAILY)
        ]
        found["history"] = [{"days": d, "train_days": 2.0, "entities": 2, **point} for d in (0.5, None)]
    result["transfer"] = [{"source": "pumps", "target": "valves", "vus_pr": 0.25}]
    text = run.tables(result)
    for expected in ("### pumps", "### valves", "| views | event F1 |", "random's PA-F1", "**Newcomers**", "0.250"):
        assert expected in text
    paths = run.plots(result, tmp_path / "pictures")
    assert sorted(p.name for p in paths) == [f"detection_{n}.png" for n in ("history", "masked", "pages", "ranking")]
    assert all(0 < p.stat().st_size < 60_000 for p in paths)


def test_a_folder_without_labelled_sets_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no Parquet file"):
        run.run(tmp_path, tmp_path, True, workers=0)


def test_curves_get_the_networks_of_the_first_seed(folder):
    paths = sorted(folder.glob("*.parquet"))
    size = replace(SIZE, curve_samples=9)
    pending = run._second([], paths, size)
    assert sorted((j.work, j.other) for j in pending) == [
        (jobs.HISTORY, ""), (jobs.HISTORY, ""), (jobs.MASKED, ""), (jobs.MASKED, ""),
        (jobs.OPERATORS, ""), (jobs.OPERATORS, ""),
        (jobs.TRANSFER, "pumps"), (jobs.TRANSFER, "valves"),
    ]  # fmt: skip
    done = [
        jobs.Done(jobs.Job(jobs.VIEWS, path, seed, size, 1.0), models={jobs.VIEWS: f"{path.stem} {seed}"})
        for path in paths
        for seed in (1, 2)
    ]
    filled = run._with_models(pending, done)
    moved = next(j for j in filled if j.other == "pumps")
    assert moved.models == {jobs.VIEWS: "valves 1", "pumps": "pumps 1"}
