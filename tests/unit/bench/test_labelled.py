"""Splits of labelled telemetry, and the wall between what may be seen and what is judged."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from bench import example
from bench.detection.labelled import GAP_STEPS, Given, describe, find, own_side, read
from fleetalign.contracts.feedback import ANOMALY, UNLABELLED, intervals
from fleetalign.errors import BadInput


@pytest.fixture
def path(tmp_path):
    return example.write(tmp_path / "pumps.parquet")


def test_test_parts_begin_together_whatever_their_starts_and_lengths(path):
    given, truth = read(path)
    assert given.panel.entity_ids == ("e0", "e1", "e2", "e3")
    assert given.start == 600 and given.panel.step_seconds == 600
    assert [given.test_steps(e) for e in range(4)] == [900, 890, 880, 870]
    assert given.panel.first.tolist() == [0, 10, 20, 30]
    assert [len(one) for one in truth.labels] == [900, 890, 880, 870]
    assert given.training.values.shape[1] == 600 and given.training.last.tolist() == [599] * 4


def test_feedback_is_the_first_part_and_a_window_lies_before_what_is_judged(path):
    given, truth = read(path)
    for e in range(given.entities):
        cut = given.feedback_steps(e)
        assert cut == int(0.3 * given.test_steps(e)) == len(given.feedback[e])
        assert not truth.judged[e][: cut + GAP_STEPS].any()
        assert truth.judged[e][cut + GAP_STEPS :].mean() > 0.9


@over(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(min_value=0, max_value=60), st.integers(0, 60))
def test_an_incident_that_straddles_a_cut_is_on_neither_side(anomalous, cut, gap):
    labels = np.array(anomalous, dtype=np.int8)
    cut, begin = min(cut, len(labels)), min(cut + gap, len(labels))
    before, after = own_side(labels, 0, cut), own_side(labels, begin, len(labels))
    for a, b in intervals(labels == ANOMALY):
        for side, inside in ((before, b <= cut), (after, a >= begin)):
            assert (side[a:b] == (ANOMALY if inside else UNLABELLED)).all()
    assert (before[cut:] == UNLABELLED).all() and (after[:begin] == UNLABELLED).all()


def test_straddling_incidents_are_neither_feedback_nor_judged(path):
    table = pq.read_table(path)
    rows = table.to_pandas()
    mine = (rows.entity_id == "e0").to_numpy()
    label = rows["label"].to_numpy(dtype=float, copy=True)
    at = np.flatnonzero(mine & (rows.split == "test").to_numpy())
    label[at[260:280]] = 1.0  # over the end of feedback, at 270
    label[at[365:375]] = 1.0  # over the beginning of what is judged, at 370
    label[at[280:285]] = label[at[360:365]] = label[at[375:380]] = 0.0
    column = pa.array(np.nan_to_num(label).astype(np.uint8), mask=np.isnan(label))
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", column), path)
    given, truth = read(path)
    assert (given.feedback[0][260:] == UNLABELLED).all()
    assert not truth.judged[0][365:375].any() and truth.judged[0][375:380].all()


def test_what_methods_see_does_not_depend_on_judged_labels(path):
    before, _ = read(path)
    flipped(path)
    after, truth = read(path)
    assert max(one[400:].mean() for one in truth.labels) > 0.5
    for field in fields(Given):
        left, right = getattr(before, field.name), getattr(after, field.name)
        if field.name == "panel":
            np.testing.assert_array_equal(left.values, right.values)
        elif field.name == "feedback":
            for a, b in zip(left, right, strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_array_equal(left, right)


def flipped(path):
    """Every label after the feedback part becomes its opposite (but for an incident over the cut)."""
    table = pq.read_table(path)
    rows = table.to_pandas()
    label = rows["label"].to_numpy(dtype=float, copy=True)
    for entity in rows.entity_id.unique():
        at = np.flatnonzero(((rows.entity_id == entity) & (rows.split == "test")).to_numpy())
        cut = int(0.3 * len(at))
        label[at[cut + 60 :]] = 1 - label[at[cut + 60 :]]
    column = pa.array(np.nan_to_num(label).astype(np.uint8), mask=np.isnan(label))
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", column), path)


def test_gaps_stay_missing_and_unlabelled(path):
    table = pq.read_table(path)
    keep = np.ones(table.num_rows, dtype=bool)
    keep[600 + 500 : 600 + 510] = False
    pq.write_table(table.filter(pa.array(keep)), path)
    given, truth = read(path)
    assert np.isnan(given.panel.values[0, given.start + 500 : given.start + 510]).all()
    assert (truth.labels[0][500:510] == UNLABELLED).all() and not truth.judged[0][500:510].any()


def test_train_rows_after_the_test_part_began_are_dropped(path):
    table = pq.read_table(path)
    splits = table["split"].cast(pa.string()).to_pylist()
    splits[1_000] = "train"
    pq.write_table(table.set_column(table.schema.get_field_index("split"), "split", pa.array(splits)), path)
    given, _ = read(path)
    assert np.isnan(given.panel.values[0, 1_000]).all() and np.isfinite(given.panel.values[0, 999]).all()


def test_any_labelled_parquet_is_found_and_others_are_named(path, tmp_path):
    pq.write_table(pa.table({"entity_id": ["a"], "value": [1.0]}), tmp_path / "other.parquet")
    assert find(tmp_path) == ([path], ["other.parquet"])
    path.unlink()
    with pytest.raises(BadInput, match="entity_id, timestamp, split, label"):
        find(tmp_path)


def test_a_set_without_train_or_test_is_refused(path):
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.equal(table["split"].cast(pa.string()), "test")), path)
    with pytest.raises(BadInput, match="both splits"):
        read(path)


def test_few_entities_are_spread_and_described(path):
    given, truth = read(path, few=True)
    assert given.panel.entity_ids == ("e0", "e3")
    about = describe(given, truth)
    assert about["entities"] == 2 and about["metrics"] == 3 and about["train_samples"] == 600 + 570
    assert about["judged_incidents"] > 0 and 0 < about["judged_anomaly_share"] < 0.5
    assert about["judged_samples"] == sum(int(j.sum()) for j in truth.judged)
